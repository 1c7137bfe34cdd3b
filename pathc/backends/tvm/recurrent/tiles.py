"""How a time loop is divided: threads that share the units of a sequence, and the sequences of a block of threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product

from pathc.backends.tvm.recurrent.plan import CellPlan
from pathc.backends.tvm.schedule import WARP
from pathc.support.diagnostics import error

_MOST_THREADS = 512
"""Of a block, so that each can have 128 registers."""
_CHUNK = 256
"""Units of a block whose threads need nothing of each other."""
_FULL = 128
"""Threads a block should have where there are sequences enough."""
_REGISTERS = 64
"""Weights that a thread keeps over all steps."""
_SAMPLES = 4
"""Sequences for which a thread uses a weight that it has read."""
_SAMPLES_HELD = 2
"""The same where weights stay in registers, so that these suffice."""
_SLOTS, _SAMPLES_TRIED = (1, 2, 4, 8, 16), (1, 2, 4, 8)


@dataclass(frozen=True)
class CellTile:
    """Split factors of a time loop, as CellPlan has them."""

    across: int
    turns: int
    slots: int
    samples: int
    held: int
    """1 if weights stay in registers, else 0."""

    def __str__(self) -> str:
        kept = ", weights in registers" if self.held else ""
        return f"{self.across} threads of {self.turns}, {self.slots}x{self.samples} sequences{kept}"


def tile_of(plan: CellPlan) -> CellTile:
    """The split factors of a plan."""
    return CellTile(plan.across, plan.turns, plan.slots, plan.samples, int(plan.held))


def with_tile(plan: CellPlan, tile: CellTile) -> CellPlan:
    """The plan with other split factors."""
    return replace(plan, **asdict(tile) | {"held": bool(tile.held)})


def fitted(plan: CellPlan, batch: int, limit: int = 0, arch: str = "") -> CellPlan:
    """The plan with its threads; a batch of 0 is any. Raises E0666 if a state does not fit shared memory."""
    n, alone = plan.cell.hidden, batch == 1
    most = _CHUNK if plan.form == "own" else _MOST_THREADS
    parts = -(-n // most)
    across = _across(n, parts)
    slots = 1 if alone else max(1, _FULL // across)
    if plan.form == "own":
        return replace(plan, across=across, slots=slots)
    held = _holds(plan, parts)
    samples = 1 if held or alone else _SAMPLES
    made = replace(plan, across=across, turns=parts, slots=slots, samples=samples, held=held)
    while limit and shared_bytes(made) > limit:
        if made.sequences == 1:
            text = f"the states of `{plan.cell.station}` need {shared_bytes(made)} bytes of shared memory"
            help = "use `recur = diag`, whose states stay in registers, or fewer units"
            raise error("E0666", f"{text}, {arch} has {limit}", plan.cell.loc, help=help)
        made = replace(made, slots=made.slots // 2) if made.slots > 1 else replace(made, samples=made.samples // 2)
    return made


def tiles_for(plan: CellPlan, limit: int = 0) -> frozenset[CellTile]:
    """All split factors that a time loop can be tried with; `limit` as above.

    Sequences of a thread share the weights that it reads, those side by side fill warps, and threads that compute
    several units one after the other leave room for more sequences.
    """
    return frozenset(t for t in _every(plan) if not limit or shared_bytes(with_tile(plan, t)) <= limit)


def changes(plan: CellPlan) -> Iterator[Mapping[str, int]]:
    """Fields of a tile with what they become, one after the other: what decides how often a weight is read first."""
    if plan.form != "own":
        yield from ({"samples": samples, "held": held} for samples in _SAMPLES_TRIED for held in (0, 1))
        yield from ({"turns": turns, "across": across} for turns, across in _turns(plan))
    else:
        yield from ({"across": across} for across in _chunks(plan))
    yield from ({"slots": slots} for slots in _slots(plan))


def _every(plan: CellPlan) -> Iterator[CellTile]:
    if plan.form == "own":
        for across, slots in product(_chunks(plan), _slots(plan)):
            if across * slots <= _MOST_THREADS:
                yield CellTile(across, 1, slots, 1, 0)
        return
    for (turns, across), slots, samples in product(_turns(plan), _slots(plan), _SAMPLES_TRIED):
        if across * slots <= _MOST_THREADS:
            yield CellTile(across, turns, slots, samples, 0)
            if _holds(plan, turns) and samples <= _SAMPLES_HELD:
                yield CellTile(across, turns, slots, samples, 1)


def _slots(plan: CellPlan) -> list[int]:
    return sorted({*_SLOTS, plan.slots})


def _chunks(plan: CellPlan) -> list[int]:
    """Threads that can share the units of a direction, where several blocks of them do."""
    n = plan.cell.hidden
    return sorted({_across(n, parts) for parts in range(-(-n // _CHUNK), -(-n // WARP) + 1)}, reverse=True)


def _turns(plan: CellPlan) -> list[tuple[int, int]]:
    """Units of a thread, with the threads that this takes."""
    n = plan.cell.hidden
    least = -(-n // _MOST_THREADS)
    found = [(turns, _across(n, turns)) for turns in (least, 2 * least, 4 * least)]
    return [(turns, across) for turns, across in found if turns == least or (turns - 1) * across < n]


def _across(units: int, parts: int) -> int:
    """Threads that share so many units, `parts` each: whole warps, unless a thread has one unit."""
    return units if parts == 1 else -(-units // (WARP * parts)) * WARP


def _holds(plan: CellPlan, parts: int) -> bool:
    """Whether a thread can keep the weights of so many units."""
    return plan.form != "csr" and parts * plan.width * len(plan.cell.recurrent_gates) <= _REGISTERS


def shared_bytes(plan: CellPlan) -> int:
    """What the states of a block take: two of h, one of c, and what the reset gate leaves of h."""
    states = 2 + (plan.cell.states - 1) + plan.twice
    return 0 if plan.form == "own" else 4 * states * plan.sequences * plan.cell.hidden
