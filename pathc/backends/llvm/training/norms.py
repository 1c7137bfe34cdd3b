"""Batch normalization: statistics of a batch that lies in tiles, and gradients through them.

Every tile has numbers of its own for each channel: mean and sum of squared differences of its samples; mean, reciprocal
deviation and variance by which it is normalized; sums of the gradient, and of the gradient times the normalized value.
Tiles read each other's once all are done, and combine them in one order (Chan, Golub and LeVeque, 1979).
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import byte_offset, repeat
from pathc.backends.llvm.emit import F32, I64, Function, constant, vector
from pathc.backends.llvm.training import stages
from pathc.backends.llvm.training.frame import Frame, lane_sum, scaled
from pathc.backends.llvm.training.stations import NORM_NUMBERS, Norm
from pathc.backends.llvm.training.update import RANGE
from pathc.ir.types import Call

DOUBLE = "double"
_MEAN, _SQUARES, _CENTRE, _INVERSE, _VARIANCE, _ARRIVED, _PROJECTED = range(7)


def write_statistics(frame: Frame, name: str, norm: Norm) -> Function:
    """`void name(ptr x, ptr own, i64 count)`: mean and sum of squared differences of the tile's samples."""
    f = Function(name, (("ptr", "x"), ("ptr", "own"), (I64, "count")))
    kind = frame.kind
    size = f.op("fmul", F32, f.assign("uitofp i64 %count to float"), constant(float(norm.positions)))
    inside = _inside(f, frame)

    def total(plane: str, mean: str) -> str:
        with f.loop(norm.positions * frame.stride, [(kind, frame.zero())], step=frame.stride) as loop:
            found = loop.carried[0]
            for v, mask in enumerate(inside):
                value = frame.load(f, byte_offset(f, plane, v * frame.bytes), loop.index)
                if mean:
                    off = f.op("fsub", kind, value, mean)
                    value = f.op("fmul", kind, off, off)
                found = f.op("fadd", kind, found, _masked(f, frame, mask, value))
            loop.following = [found]
        return lane_sum(f, frame, loop.results[0])

    with repeat(f, norm.channels) as channel:
        plane = byte_offset(f, "%x", scaled(f, channel, norm.positions * frame.stride))
        own = _numbers(f, "%own", channel)
        mean = f.op("fdiv", F32, total(plane, ""), size)
        _put(f, own, _MEAN, mean)
        _put(f, own, _SQUARES, total(plane, f.broadcast(frame.lanes, mean)))
    return f


def write_gathered(frame: Frame, name: str, norm: Norm, tile_bytes: int) -> Function:
    """`void name(ptr first, ptr own, i64 tiles, i64 count)`: mean and variance of the batch, from those of all tiles.

    `first` are the numbers of the first tile.
    """
    f = Function(name, (("ptr", "first"), ("ptr", "own"), (I64, "tiles"), (I64, "count")))
    whole = f.op("fmul", DOUBLE, f.assign("uitofp i64 %count to double"), _exact(float(norm.positions)))
    with repeat(f, norm.channels) as channel:
        first = _numbers(f, "%first", channel)

        def each(tile: str, first: str = first) -> tuple[str, str, str]:
            at = byte_offset(f, first, scaled(f, tile, tile_bytes))
            left = f.op("sub", I64, "%count", f.op("mul", I64, tile, str(frame.columns)))
            held = f.call(I64, "llvm.umin.i64", [(I64, left), (I64, str(frame.columns))])
            size = f.op("fmul", DOUBLE, f.assign(f"uitofp i64 {held} to double"), _exact(float(norm.positions)))
            return size, _wide(f, _get(f, at, _MEAN)), _wide(f, _get(f, at, _SQUARES))

        with f.loop("%tiles", [(DOUBLE, "0.0")]) as loop:
            size, mean, _ = each(loop.index)
            loop.following = [f.op("fadd", DOUBLE, loop.carried[0], f.op("fmul", DOUBLE, size, mean))]
        centre = f.op("fdiv", DOUBLE, loop.results[0], whole)
        with f.loop("%tiles", [(DOUBLE, "0.0")]) as loop:
            size, mean, squares = each(loop.index)
            off = f.op("fsub", DOUBLE, mean, centre)
            apart = f.op("fmul", DOUBLE, size, f.op("fmul", DOUBLE, off, off))
            loop.following = [f.op("fadd", DOUBLE, loop.carried[0], f.op("fadd", DOUBLE, squares, apart))]
        variance = f.op("fdiv", DOUBLE, loop.results[0], whole)
        _set_norm(f, norm, _numbers(f, "%own", channel), centre, variance)
    return f


def write_stored(name: str, norm: Norm) -> Function:
    """`void name(ptr mean, ptr variance, ptr own)`: the stored statistics as those to normalize by."""
    f = Function(name, (("ptr", "mean"), ("ptr", "variance"), ("ptr", "own")))
    with repeat(f, norm.channels) as channel:
        mean, variance = (_wide(f, f.load(F32, f.offset(f"%{part}", channel))) for part in ("mean", "variance"))
        _set_norm(f, norm, _numbers(f, "%own", channel), mean, variance)
    return f


def _set_norm(f: Function, norm: Norm, own: str, mean: str, variance: str) -> None:
    root = f.call(DOUBLE, "llvm.sqrt.f64", [(DOUBLE, f.op("fadd", DOUBLE, variance, _exact(norm.eps)))])
    for number, value in ((_CENTRE, mean), (_INVERSE, f.op("fdiv", DOUBLE, "1.0", root)), (_VARIANCE, variance)):
        _put(f, own, number, f.assign(f"fptrunc double {value} to float"))


def write_normalized(frame: Frame, name: str, norm: Norm, then: Call | None) -> Function:
    """`void name(ptr x, ptr y, ptr own, ptr gain, ptr shift)`: normalized values, and an elementwise stage of them."""
    f = Function(name, (("ptr", "x"), ("ptr", "y"), ("ptr", "own"), ("ptr", "gain"), ("ptr", "shift")))
    with repeat(f, norm.channels) as channel:
        own = _numbers(f, "%own", channel)
        mean, inverse = _get(f, own, _CENTRE), _get(f, own, _INVERSE)
        factor = f.op("fmul", F32, inverse, f.load(F32, f.offset("%gain", channel)))
        wide = [f.broadcast(frame.lanes, v) for v in (mean, factor, f.load(F32, f.offset("%shift", channel)))]
        with _plane(f, frame, norm, channel) as at:
            off = f.op("fsub", frame.kind, frame.load(f, "%x", at), wide[0])
            value = f.fma(frame.lanes, off, wide[1], wide[2])
            if then is not None:
                value = vecmath.apply(f, frame.lanes, value, then, frame.machine)
            frame.store(f, value, "%y", at)
    return f


def write_arriving(frame: Frame, name: str, norm: Norm, then: Call | None) -> Function:
    """`void name(ptr x, ptr value, ptr delta, ptr own)`: the sums of gradients, brought through the stage `then` first.

    `value` is what that stage gave.
    """
    f = Function(name, (("ptr", "x"), ("ptr", "value"), ("ptr", "delta"), ("ptr", "own")))
    kind = frame.kind
    with repeat(f, norm.channels) as channel:
        own = _numbers(f, "%own", channel)
        mean, inverse = (f.broadcast(frame.lanes, _get(f, own, number)) for number in (_CENTRE, _INVERSE))
        start = scaled(f, channel, norm.positions * frame.stride)
        with f.loop(norm.positions * frame.stride, [(kind, frame.zero())] * 2, step=frame.bytes) as loop:
            at = f.op("add", I64, loop.index, str(start))
            gradient = frame.load(f, "%delta", at)
            if then is not None:
                gradient = stages.slope(f, frame, then, gradient, frame.load(f, "%value", at))
                frame.store(f, gradient, "%delta", at)
            normal = f.op("fmul", kind, f.op("fsub", kind, frame.load(f, "%x", at), mean), inverse)
            sums = loop.carried
            loop.following = [f.op("fadd", kind, sums[0], gradient), f.fma(frame.lanes, gradient, normal, sums[1])]
        for number, value in zip((_ARRIVED, _PROJECTED), loop.results, strict=True):
            _put(f, own, number, lane_sum(f, frame, value))
    return f


def write_norm_back(frame: Frame, name: str, norm: Norm, tile_bytes: int, *, by_batch: bool) -> Function:
    """Gradients at the argument, from those at the values.

    `void name(ptr x, ptr delta, ptr own, ptr first, ptr gain, i64 tiles, i64 whole, i64 count)`. `by_batch`, they go
    through the statistics of the batch, `whole` samples; columns of the tile from `count` on, which are none, get 0.
    """
    pointers = [("ptr", part) for part in ("x", "delta", "own", "first", "gain")]
    f = Function(name, (*pointers, (I64, "tiles"), (I64, "whole"), (I64, "count")))
    kind = frame.kind
    whole = f.op("fmul", DOUBLE, f.assign("uitofp i64 %whole to double"), _exact(float(norm.positions)))
    with repeat(f, norm.channels) as channel:
        own = _numbers(f, "%own", channel)
        gain = f.load(F32, f.offset("%gain", channel))
        factor = f.broadcast(frame.lanes, f.op("fmul", F32, _get(f, own, _INVERSE), gain))
        if by_batch:
            _through_batch(f, frame, norm, tile_bytes, channel, own, factor, whole)
        else:
            with _plane(f, frame, norm, channel) as at:
                frame.store(f, f.op("fmul", kind, frame.load(f, "%delta", at), factor), "%delta", at)
    return f


def _through_batch(
    f: Function, frame: Frame, norm: Norm, tile_bytes: int, channel: str | int, own: str, factor: str, whole: str
) -> None:
    """Gradients of a channel, less what moves the mean and the variance of the batch; `whole` is its size."""
    kind = frame.kind
    first = _numbers(f, "%first", channel)
    with f.loop("%tiles", [(DOUBLE, "0.0")] * 2) as loop:
        tile = byte_offset(f, first, scaled(f, loop.index, tile_bytes))
        loop.following = [
            f.op("fadd", DOUBLE, before, _wide(f, _get(f, tile, number)))
            for before, number in zip(loop.carried, (_ARRIVED, _PROJECTED), strict=True)
        ]
    means = [f.assign(f"fptrunc double {f.op('fdiv', DOUBLE, v, whole)} to float") for v in loop.results]
    arrived, along = f.broadcast(frame.lanes, means[0]), f.op("fmul", F32, means[1], _get(f, own, _INVERSE))
    mean, slope = f.broadcast(frame.lanes, _get(f, own, _CENTRE)), f.broadcast(frame.lanes, along)
    start = scaled(f, channel, norm.positions * frame.stride)
    with f.loop(norm.positions * frame.stride, step=frame.stride) as rows:
        for v, mask in enumerate(_inside(f, frame)):
            at = f.op("add", I64, f.op("add", I64, rows.index, str(start)), str(v * frame.bytes))
            off = f.op("fsub", kind, frame.load(f, "%x", at), mean)
            rest = f.op("fsub", kind, frame.load(f, "%delta", at), arrived)
            rest = f.op("fsub", kind, rest, f.op("fmul", kind, off, slope))
            moved = _masked(f, frame, mask, f.op("fmul", kind, rest, factor))
            frame.store(f, moved, "%delta", at)


def write_norm_gradients(name: str, norms: Sequence[Norm], gradients: tuple[int, int], tile_bytes: int) -> Function:
    """The kernel that sums up the gradients of gain and shift of channels `%start` .. `%stop` - 1 over all tiles."""
    f = Function(name, RANGE)
    with f.loop("%stop", start="%start") as channels:
        firsts = [_numbers(f, byte_offset(f, "%acts", norm.at), channels.index) for norm in norms]
        with f.loop("%span", [(F32, constant(0.0))] * 2, step=tile_bytes) as tiles:
            sums = list(tiles.carried)
            for first in firsts:
                tile = byte_offset(f, first, tiles.index)
                sums = [
                    f.op("fadd", F32, a, _get(f, tile, n)) for a, n in zip(sums, (_PROJECTED, _ARRIVED), strict=True)
                ]
            tiles.following = sums
        for at, value in zip(gradients, tiles.results, strict=True):
            f.store(F32, value, f.offset(byte_offset(f, "%params", at), channels.index))
    return f


def write_moved(name: str, norms: Sequence[Norm], stored: tuple[int, int]) -> Function:
    """The kernel that moves the stored mean and variance of channels `%start` .. `%stop` - 1 towards the batch's.

    Where a normalization is evaluated several times, towards their mean.
    """
    f = Function(name, RANGE)
    share = constant(norms[0].momentum)
    with f.loop("%stop", start="%start") as channels:
        for at, number in zip(stored, (_CENTRE, _VARIANCE), strict=True):
            total = constant(0.0)
            for norm in norms:
                numbers = _numbers(f, byte_offset(f, "%acts", norm.at), channels.index)
                total = f.op("fadd", F32, total, _get(f, numbers, number))
            now = f.op("fmul", F32, total, constant(1.0 / len(norms)))
            place = f.offset(byte_offset(f, "%params", at), channels.index)
            before = f.load(F32, place)
            f.store(F32, f.fma(1, share, f.op("fsub", F32, now, before), before), place)
    return f


@contextmanager
def _plane(f: Function, frame: Frame, norm: Norm, channel: str | int) -> Generator[str]:
    """The loop over all vectors of a channel; yields the byte offset."""
    start = scaled(f, channel, norm.positions * frame.stride)
    with f.loop(norm.positions * frame.stride, step=frame.bytes) as loop:
        yield f.op("add", I64, loop.index, str(start))


def _inside(f: Function, frame: Frame) -> list[str]:
    """Of every vector of a row, which lanes are samples."""
    return [stages.columns_inside(f, frame, v * frame.bytes, "%count") for v in range(frame.vectors)]


def _masked(f: Function, frame: Frame, mask: str, value: str) -> str:
    return f.assign(f"select {vector(frame.lanes, 'i1')} {mask}, {frame.kind} {value}, {frame.kind} {frame.zero()}")


def _numbers(f: Function, base: str, channel: str | int) -> str:
    return byte_offset(f, base, scaled(f, channel, 4 * NORM_NUMBERS))


def _get(f: Function, numbers: str, number: int) -> str:
    return f.load(F32, f.offset(numbers, number))


def _put(f: Function, numbers: str, number: int, value: str) -> None:
    f.store(F32, value, f.offset(numbers, number))


def _wide(f: Function, value: str) -> str:
    return f.assign(f"fpext float {value} to double")


def _exact(value: float) -> str:
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
