"""What the two windowed forms share: whether they fit, how many operations, picking sources, packing fields."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.column.common import byte_offset, encode
from pathc.backends.llvm.emit import Function, vector
from pathc.backends.llvm.general.edges import Distinct, distinct_edges
from pathc.backends.llvm.general.windows import natural_order, operations
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Junction, WeightType

_LOOKED_AT = 1 << 22
_LONGEST_ROW = 1 << 13
SAMPLE = 48
"""Groups of destinations from which the number of operations is estimated."""

_counted: WeakKeyDictionary[Distinct, dict[int, float]] = WeakKeyDictionary()


def permute_refusal(junction: Junction, machine: Machine) -> str:
    """Why a junction cannot be computed by permuting windows, or an empty string."""
    if junction.kind != "paths":
        return f"it computes paths, not a {junction.kind} junction"
    if not (machine.avx512 and machine.width == 16) and not (machine.avx2 and machine.width == 8):
        return "it needs permutations across a vector: AVX2 or AVX-512"
    if junction.count >= _LOOKED_AT:
        return f"sorting {_LOOKED_AT} paths or more into windows would take long"
    if not junction.blocks and int(distinct_edges(junction).lengths.max(initial=0)) > _LONGEST_ROW:
        return f"a destination has more than {_LONGEST_ROW} sources"
    return ""


def operation_count(junction: Junction, machine: Machine) -> float:
    """Estimated number of operations with destinations in natural order.

    Junctions made of dense blocks have better forms, so for them edges are not looked at.
    """
    if junction.blocks:
        return 2.0 * junction.count / machine.width
    edges, lanes = distinct_edges(junction), machine.width
    known = _counted.setdefault(edges, {})
    if lanes not in known:
        known[lanes] = operations(edges, natural_order(edges.n_dst, lanes), SAMPLE)
    return known[lanes]


def packed_fields(fields: NDArray[np.uint32], bits: int) -> NDArray[np.uint8]:
    """Small integers [chunks, n, lanes] as one word a lane and chunk: bytes [chunks, 4 * lanes]."""
    shifts = np.arange(fields.shape[1], dtype=np.uint32) * np.uint32(bits)
    words = np.bitwise_or.reduce(fields << shifts[:, None], axis=1)
    return np.ascontiguousarray(words, np.uint32).view(np.uint8).reshape(fields.shape[0], 4 * fields.shape[2])


def packed_weights(values: NDArray[np.float32], chunk: int, kind: WeightType) -> NDArray[np.uint8]:
    """Weights [operations, lanes] as bytes [chunks, n]; two bf16 of neighbouring operations share a word."""
    rows, lanes = values.shape
    if kind == "f32":
        return np.ascontiguousarray(values).view(np.uint8).reshape(rows // chunk, 4 * lanes * chunk)
    halves = encode(values, kind).view(np.uint16).reshape(rows // 2, 2, lanes)
    return np.ascontiguousarray(halves.transpose(0, 2, 1)).view(np.uint8).reshape(rows // chunk, 2 * lanes * chunk)


def pick(f: Function, lanes: int, window: tuple[str, str], words: str, shift: int) -> str:
    """The source of every lane: the field of `words` at bit `shift` counts from the start of the window."""
    kind, whole = vector(lanes), vector(lanes, "i32")
    first, second = window
    places = f.op("lshr", whole, words, f"splat (i32 {shift})") if shift else words
    if lanes == 16:
        arguments = [(kind, first), (whole, places), (kind, second)]
        return f.call(kind, "llvm.x86.avx512.vpermi2var.ps.512", arguments)
    low, high = (f.call(kind, "llvm.x86.avx2.permps", [(kind, v), (whole, places)]) for v in window)
    return choose(f, lanes, sign_of(f, lanes, words, shift + 3), high, low)


def sign_of(f: Function, lanes: int, words: str, bit: int) -> str:
    """Whether a bit of every word is set."""
    whole = vector(lanes, "i32")
    moved = f.op("shl", whole, words, f"splat (i32 {31 - bit})") if bit < 31 else words
    return f.assign(f"icmp slt {whole} {moved}, zeroinitializer")


def choose(f: Function, lanes: int, condition: str, yes: str, no: str) -> str:
    """Lanes of `yes` where the condition holds, of `no` elsewhere."""
    kind = vector(lanes)
    return f.assign(f"select {vector(lanes, 'i1')} {condition}, {kind} {yes}, {kind} {no}")


def weight_vector(f: Function, lanes: int, pointer: str, kind: WeightType, number: int, last: str) -> tuple[str, str]:
    """Weights of operation `number` of a chunk, and the word vector that the next operation shares (bf16)."""
    floats, whole = vector(lanes), vector(lanes, "i32")
    if kind == "f32":
        return f.load(floats, byte_offset(f, pointer, number * 4 * lanes), 4 * lanes), ""
    if number % 2 == 0:
        last = f.load(whole, byte_offset(f, pointer, number * 2 * lanes), 4 * lanes)
        bits = f.op("shl", whole, last, "splat (i32 16)")
    else:
        bits = f.op("and", whole, last, "splat (i32 -65536)")
    return f.assign(f"bitcast {whole} {bits} to {floats}"), last
