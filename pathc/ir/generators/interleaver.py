"""Clash-free interleavers: pre-defined sparse junctions whose z reads per cycle hit z different memories.

Source: S. Dey, P. A. Beerel, K. M. Chugg, Interleaver Design for Deep Neural Networks (Asilomar 2017), and S. Dey,
K.-W. Huang, P. A. Beerel, K. M. Chugg, Pre-Defined Sparse Neural Networks With Hardware Acceleration (JETCAS 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pathc.ir.catalogue import INTERLEAVERS
from pathc.ir.generators.checks import check_line, check_stored
from pathc.ir.generators.hashing import hash64, integers, permutations
from pathc.ir.generators.regular import Permutation, RegularPaths
from pathc.support.diagnostics import Place, did_you_mean, error

_ROWS, _BANKS = 1, 2
_PARTS = ("sv", "ss", "md")
_TYPES = ("type1", "type2", "type3")


class Interleaver(RegularPaths):
    """Paths whose junctions are clash-free interleavers of z memories; slots are Dey's weight numbers.

    Junction j joins p = sizes[j-1] left units with fan-out count / p. Its pattern depends on seed, dims[j-1] and
    dims[j]. Errors: E0341, E0343, E0344, E0346.
    """

    def __init__(
        self,
        dims: tuple[int, ...],
        sizes: tuple[int, ...],
        count: int,
        z: int,
        kind: str = "basic",
        seed: int = 0,
        dither: bool = False,
        place: Place = None,
    ) -> None:
        super().__init__("interleaver", dims, sizes, count, seed, place)
        check_kind(kind, place)
        for left in sizes[:-1]:
            check_memories(left, z, place)
        self.kind, self.z, self.dither = kind, z, dither

    def junction(self, number: int) -> Permutation:
        """Left weight number of every right weight number of junction `number` (from 1)."""
        p = self.sizes[number - 1]
        seed = hash64(self.seed, self.dims[number - 1], self.dims[number])
        return interleave(self.kind, p, self.count // p, self.z, seed, dither=self.dither)


def interleave(kind: str, p: int, fo: int, z: int, seed: int = 0, *, dither: bool = False) -> Permutation:
    """The weight interleaver pi of a junction of p left units with fan-out fo, read from z memories.

    Weight i, numbered along the right units, is number pi(i) along the left ones: it reads unit pi(i) // fo.
    `kind` is basic; sv, ss, md or several of them joined by +; type1, type2 or type3. `dither` permutes the
    memories, for basic to ss the same as adding md. int64 of shape [p * fo]. Errors: E0341, E0344, E0346.
    """
    parts = check_kind(kind)
    check_line((p,), p * fo)
    check_stored(p * fo, "interleaver")
    check_memories(p, z)
    depth = p // z
    key = hash64(seed)
    if kind in _TYPES:
        sweeps = 1 if kind == "type3" else fo
        banks = permutations(sweeps, z, key, _BANKS) if dither else None
        if kind == "type1":
            rows = permutations(fo * z, depth, key, _ROWS).reshape(fo, z, depth)
            return from_rows(p, fo, z, rows.transpose(0, 2, 1), banks)
        return from_starts(p, fo, z, integers((sweeps, z), depth, key, _ROWS), banks)
    sweeps = fo if "ss" in parts else 1
    groups = -(-z // depth)
    copies = permutations(sweeps * (groups if "sv" in parts else 1), depth, key, _ROWS).reshape(sweeps, -1)
    starts = np.tile(copies, (1, 1 if "sv" in parts else groups))[:, :z]
    banks = permutations(1, z, key, _BANKS) if dither or "md" in parts else None
    return from_starts(p, fo, z, starts, banks)


def start_vector(r: Sequence[int], z: int) -> NDArray[np.int64]:
    """Start rows of z memories from a permutation r of the rows, repeated or cut to z entries: shape [z]."""
    return np.resize(np.asarray(r, np.int64), z)


def from_starts(
    p: int, fo: int, z: int, starts: NDArray[np.int64], banks: NDArray[np.int64] | None = None
) -> Permutation:
    """The interleaver whose memories start at the given rows and go on by one, modulo p / z, each cycle.

    `starts` has shape [z] or [sweeps, z] with 1 or fo sweeps; `banks` as in `from_rows`. Errors: E0346.
    """
    check_memories(p, z)
    starts = np.asarray(starts, np.int64).reshape(-1, 1, z)
    cycles = np.arange(p // z, dtype=np.int64).reshape(1, -1, 1)
    return from_rows(p, fo, z, (starts + cycles) % (p // z), banks)


def from_rows(p: int, fo: int, z: int, rows: NDArray[np.int64], banks: NDArray[np.int64] | None = None) -> Permutation:
    """The interleaver that in cycle c of sweep k reads row rows[k, c, m] of memory banks[k, m] at position m.

    `rows` has shape [1 or fo, p / z, z], `banks` [z] or [1 or fo, z] (each memory at its own position unless
    given). It is clash-free if every bank vector is a permutation, and a permutation if every column of `rows`
    is one too. pi = (row * z + bank) * fo + sweep: int64 of shape [p * fo]. Errors: E0346.
    """
    check_memories(p, z)
    order = np.arange(z, dtype=np.int64) if banks is None else np.asarray(banks, np.int64)
    sweep = np.arange(fo, dtype=np.int64).reshape(fo, 1, 1)
    left = np.asarray(rows, np.int64).reshape(-1, p // z, z) * z + order.reshape(-1, 1, z)
    return (left * fo + sweep).reshape(p * fo)


def check_kind(kind: str, place: Place = None) -> frozenset[str]:
    """The shuffles that `kind` joins, in any order; empty for basic and the types. Errors: E0344."""
    if kind == "basic" or kind in _TYPES:
        return frozenset()
    parts = kind.split("+")
    if not set(parts) <= set(_PARTS) or len(set(parts)) < len(parts):
        message = f"no interleaver is called `{kind}`; there are {', '.join(INTERLEAVERS)}"
        raise error("E0344", message, place, help=did_you_mean(kind, INTERLEAVERS))
    return frozenset(parts)


def check_memories(p: int, z: int, place: Place = None) -> None:
    """Raise E0346 unless p units fill z memories with at least two rows each."""
    if z < 1 or p % z:
        choices = [d for d in range(1, min(p // 2, 1024) + 1) if p % d == 0]
        cures = [f"z may be {', '.join(map(str, choices))}"] if choices else []
        cures += [f"{max(2, -(-p // z)) * z} units fill {z} memories"] if z > 0 else []
        message = f"{p} left units do not fill {z} memories evenly"
        raise error("E0346", message, place, help="; ".join(cures))
    if p // z < 2:
        message = f"{p} left units in {z} memories leave one row each, and nothing to interleave"
        raise error("E0346", message, place, help="a memory has at least two rows: choose z up to half the units")


def clashes(pi: Permutation, fo: int, z: int) -> int:
    """Reads that find their memory (left unit modulo z) taken in their cycle of z weights; 0 is clash-free."""
    banks = np.sort((pi // fo % z).reshape(-1, z), axis=1)
    return int(np.count_nonzero(banks[:, 1:] == banks[:, :-1]))


def adjacency(pi: Permutation, p: int, n: int) -> NDArray[np.int64]:
    """Number of edges between right unit j and left unit i: int64 of shape [n, p]; rows sum to fan-in."""
    fan_in, fan_out = len(pi) // n, len(pi) // p
    counts = np.zeros((n, p), np.int64)
    np.add.at(counts, (np.arange(len(pi)) // fan_in, pi // fan_out), 1)
    return counts


def spread(pi: Permutation) -> int:
    """Smallest |i - j| + |pi(i) - pi(j)| over all pairs i != j; at least two entries."""
    best = int(np.abs(np.diff(pi)).min()) + 1
    distance = 2
    while distance < min(best, len(pi)):
        best = min(best, distance + int(np.abs(pi[distance:] - pi[:-distance]).min()))
        distance += 1
    return best


def dispersion(pi: Permutation) -> float:
    """Distinct displacements (j - i, pi(j) - pi(i)) of pairs i < j, over the number of pairs; quadratic in time."""
    size = len(pi)
    distinct = 0
    for distance in range(1, size):
        seen = np.zeros(2 * size - 1, bool)
        seen[pi[distance:] - pi[:-distance] + size - 1] = True
        distinct += int(np.count_nonzero(seen))
    return distinct / (size * (size - 1) // 2)
