"""Losses of a tile of columns: their value, the gradient at the outputs, how many samples are right.

Cross-entropy takes the softmax of the scores itself, so that neither it nor its gradient can overflow: the gradient is
the probability less one for the label. Mean squared error is the mean over samples and outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import byte_offset
from pathc.backends.llvm.emit import I64, Function, constant, vector
from pathc.backends.llvm.training.frame import Frame
from pathc.backends.llvm.training.stages import columns_inside

DOUBLE = "double"
_LOG_2 = 0.6931471805599453


def write_cross_entropy(frame: Frame, name: str, units: int, *, gradient: bool, add: bool) -> Function:
    """`void name(ptr scores, ptr delta, ptr labels, i64 count, ptr result, float scale)` for one tile.

    `scores` holds `units` rows; `labels` points at the tile's `count` labels, int64. `result` receives the sums of
    losses and of right samples, two doubles; `delta` the gradient times `scale`, added if `add`, zero from column
    `count` on. A score's NaN makes the loss NaN.
    """
    f = Function(
        name,
        (("ptr", "scores"), ("ptr", "delta"), ("ptr", "labels"), (I64, "count"), ("ptr", "result"), ("float", "scale")),
    )
    lanes, kind, whole, mask = frame.lanes, frame.kind, vector(frame.lanes, "i32"), vector(frame.lanes, "i1")
    scale = f.broadcast(lanes, "%scale")
    sums = [("double", "0.0"), ("double", "0.0")]
    with f.loop(frame.stride, sums, step=frame.bytes) as groups:
        column = groups.index
        inside = columns_inside(f, frame, column, "%count")
        label = _labels(f, frame, column)
        scores = byte_offset(f, "%scores", column)
        deltas = byte_offset(f, "%delta", column)
        low = constant(float("-inf"), lanes)
        with f.loop(units, [(kind, low), (whole, "zeroinitializer"), (kind, frame.zero())]) as loop:
            most, best, chosen = loop.carried
            value = frame.load(f, scores, f.op("shl", I64, loop.index, str(frame.shift)))
            number = f.broadcast(lanes, f.assign(f"trunc i64 {loop.index} to i32"), "i32")
            higher = f.assign(f"fcmp ogt {kind} {value}, {most}")
            here = f.assign(f"icmp eq {whole} {number}, {label}")
            loop.following = [
                f.assign(f"select {mask} {higher}, {kind} {value}, {kind} {most}"),
                f.assign(f"select {mask} {higher}, {whole} {number}, {whole} {best}"),
                f.assign(f"select {mask} {here}, {kind} {value}, {kind} {chosen}"),
            ]
        most, best, chosen = loop.results
        with f.loop(units, [(kind, frame.zero())]) as loop:
            at = f.op("shl", I64, loop.index, str(frame.shift))
            below = f.op("fsub", kind, frame.load(f, scores, at), most)
            power = vecmath.exp(f, lanes, below)
            if gradient and not add:
                frame.store(f, power, deltas, at)
            loop.following = [f.op("fadd", kind, loop.carried[0], power)]
        (total,) = loop.results
        if gradient:
            factor = f.op("fdiv", kind, scale, total)
            with f.loop(units) as loop:
                at = f.op("shl", I64, loop.index, str(frame.shift))
                if add:
                    below = f.op("fsub", kind, frame.load(f, scores, at), most)
                    power = vecmath.exp(f, lanes, below)
                else:
                    power = frame.load(f, deltas, at)
                value = f.op("fmul", kind, power, factor)
                number = f.broadcast(lanes, f.assign(f"trunc i64 {loop.index} to i32"), "i32")
                here = f.assign(f"icmp eq {whole} {number}, {label}")
                less = f.op("fsub", kind, value, scale)
                value = f.assign(f"select {mask} {here}, {kind} {less}, {kind} {value}")
                _store(f, frame, value, inside, deltas, at, add)
        loss = f.op("fsub", kind, _log(f, frame, total), f.op("fsub", kind, chosen, most))
        loss = f.assign(f"select {mask} {inside}, {kind} {loss}, {kind} {frame.zero()}")
        known = f.assign(f"fcmp ord {kind} {total}, {total}")
        right = f.op("and", mask, f.op("and", mask, inside, known), f.assign(f"icmp eq {whole} {best}, {label}"))
        ones = f.assign(f"select {mask} {right}, {kind} {constant(1.0, lanes)}, {kind} {frame.zero()}")
        groups.following = [_summed(f, frame, groups.carried[k], v) for k, v in enumerate((loss, ones))]
    f.store(DOUBLE, groups.results[0], "%result", 8)
    f.store(DOUBLE, groups.results[1], byte_offset(f, "%result", 8), 8)
    return f


def write_squares(frame: Frame, name: str, units: int, *, gradient: bool) -> Function:
    """`void name(ptr values, ptr delta, i64 count, ptr result, float scale)` for one tile.

    `delta` holds the targets and receives the gradient of the squares of differences times `scale`; `result` gets
    the sum of squares added.
    """
    f = Function(name, (("ptr", "values"), ("ptr", "delta"), (I64, "count"), ("ptr", "result"), ("float", "scale")))
    lanes, kind, mask = frame.lanes, frame.kind, vector(frame.lanes, "i1")
    twice = f.op("fmul", kind, f.broadcast(lanes, "%scale"), constant(2.0, lanes))
    before = f.load(DOUBLE, "%result", 8)
    with f.loop(frame.stride, [(DOUBLE, before)], step=frame.bytes) as groups:
        inside = columns_inside(f, frame, groups.index, "%count")
        values, deltas = (byte_offset(f, p, groups.index) for p in ("%values", "%delta"))
        with f.loop(units, [(kind, frame.zero())]) as loop:
            at = f.op("shl", I64, loop.index, str(frame.shift))
            off = f.op("fsub", kind, frame.load(f, values, at), frame.load(f, deltas, at))
            off = f.assign(f"select {mask} {inside}, {kind} {off}, {kind} {frame.zero()}")
            if gradient:
                frame.store(f, f.op("fmul", kind, off, twice), deltas, at)
            loop.following = [f.fma(lanes, off, off, loop.carried[0])]
        groups.following = [_summed(f, frame, groups.carried[0], loop.results[0])]
    f.store(DOUBLE, groups.results[0], "%result", 8)
    return f


def _labels(f: Function, frame: Frame, column: str) -> str:
    """The labels of a group of columns as int32, -1 behind the last."""
    whole, value = vector(frame.lanes, "i32"), "poison"
    first = f.op("lshr", I64, column, "2")
    last = f.op("sub", I64, "%count", "1")
    for lane in range(frame.lanes):
        at = f.op("add", I64, first, str(lane))
        at = f.call(I64, "llvm.umin.i64", [(I64, at), (I64, last)])
        label = f.assign(f"trunc i64 {f.load(I64, f.offset('%labels', at, I64), 8)} to i32")
        value = f.assign(f"insertelement {whole} {value}, i32 {label}, i64 {lane}")
    return value


def _store(f: Function, frame: Frame, value: str, inside: str, pointer: str, at: str, add: bool) -> None:
    mask = vector(frame.lanes, "i1")
    value = f.assign(f"select {mask} {inside}, {frame.kind} {value}, {frame.kind} {frame.zero()}")
    if add:
        value = f.op("fadd", frame.kind, value, frame.load(f, pointer, at))
    frame.store(f, value, pointer, at)


def _summed(f: Function, frame: Frame, total: str, values: str) -> str:
    """A double plus the lanes of a vector, added pairwise as doubles."""
    lanes = frame.lanes
    wide = f.assign(f"fpext {frame.kind} {values} to {vector(lanes, DOUBLE)}")
    parts = [f.assign(f"extractelement {vector(lanes, DOUBLE)} {wide}, i64 {lane}") for lane in range(lanes)]
    while len(parts) > 1:
        parts = [f.op("fadd", DOUBLE, a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return f.op("fadd", DOUBLE, total, parts[0])


def _log(f: Function, frame: Frame, value: str) -> str:
    """The natural logarithm of normal positive numbers, within 2 units in the last place; NaN and infinity stay.

    The mantissa m is brought into [1/sqrt 2, sqrt 2]; log m is the odd series of 2 artanh((m - 1) / (m + 1)).
    """
    lanes, kind, whole = frame.lanes, frame.kind, vector(frame.lanes, "i32")
    mask = vector(lanes, "i1")
    one = constant(1.0, lanes)
    bits = f.assign(f"bitcast {kind} {value} to {whole}")
    shifted = f.op("sub", whole, bits, _splat(0x3F3504F3))
    exponent = f.op("ashr", whole, shifted, _splat(23))
    mantissa = f.op("sub", whole, bits, f.op("shl", whole, exponent, _splat(23)))
    m = f.assign(f"bitcast {whole} {mantissa} to {kind}")
    ratio = f.op("fdiv", kind, f.op("fsub", kind, m, one), f.op("fadd", kind, m, one))
    square = f.op("fmul", kind, ratio, ratio)
    series = vecmath.polynomial(f, lanes, square, _series(5))
    power = f.assign(f"sitofp {whole} {exponent} to {kind}")
    small = f.op("fmul", kind, ratio, series)
    result = f.fma(lanes, power, constant(_LOG_2, lanes), small)
    finite = f.assign(f"fcmp olt {kind} {value}, {constant(float('inf'), lanes)}")
    return f.assign(f"select {mask} {finite}, {kind} {result}, {kind} {value}")


def _series(terms: int) -> Sequence[float]:
    return [2.0 / (2 * k + 1) for k in range(terms)]


def _splat(value: int) -> str:
    return f"splat (i32 {value})"
