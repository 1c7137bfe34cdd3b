"""Pools, picked values, channels in another order, and zeros around planes: forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from pathc.backends.llvm.column.common import byte_offset, repeat
from pathc.backends.llvm.emit import I64, Function, constant, suffix, vector
from pathc.backends.llvm.training.filters.passes import Padding
from pathc.backends.llvm.training.filters.sums import times
from pathc.backends.llvm.training.frame import Frame
from pathc.ir.filters import Geometry, Tap

_MOVE = (("ptr", "source"), ("ptr", "target"))
_BACK = (("ptr", "source"), ("ptr", "arriving"), ("ptr", "target"))
_UNROLLED = 9


def write_padded(frame: Frame, name: str, padding: Padding, channels: int) -> Function:
    """`void name(ptr source, ptr target)`: planes moved into planes with zeros around them, which are there already."""
    f = Function(name, _MOVE)
    (height, width), (_, pitch) = padding.extents, padding.padded
    first = padding.front[0] * pitch + padding.front[1]
    with repeat(f, channels) as channel:
        source = byte_offset(f, "%source", times(f, str(channel), height * width * frame.stride))
        target = byte_offset(f, "%target", times(f, str(channel), padding.rows * frame.stride))
        target = byte_offset(f, target, first * frame.stride)
        with repeat(f, height) as row:
            read = byte_offset(f, source, times(f, str(row), width * frame.stride))
            write = byte_offset(f, target, times(f, str(row), pitch * frame.stride))
            with f.loop(width * frame.stride, step=frame.bytes) as loop:
                frame.store(f, frame.load(f, read, loop.index), write, loop.index)
    return f


def write_shuffled(frame: Frame, name: str, order: Sequence[int], positions: int, *, back: bool) -> Function:
    """`void name(ptr source, ptr target)`: plane i of the target is plane `order[i]`, or the other way round."""
    f = Function(name, _MOVE)
    plane = positions * frame.stride
    for number, channel in enumerate(order):
        read, write = (number, channel) if back else (channel, number)
        with f.loop(plane, step=frame.bytes) as loop:
            value = frame.load(f, byte_offset(f, "%source", read * plane), loop.index)
            frame.store(f, value, byte_offset(f, "%target", write * plane), loop.index)
    return f


def write_pick(frame: Frame, name: str, geometry: Geometry, tap: Tap, channels: int) -> Function:
    """`void name(ptr source, ptr target)`: one value of each window."""
    f = Function(name, _MOVE)
    with _windows(f, frame, geometry, channels) as (wide, narrow):
        frame.store(f, frame.load(f, "%source", _at_tap(f, frame, geometry, tap, wide)), "%target", narrow)
    return f


def write_pick_back(frame: Frame, name: str, geometry: Geometry, tap: Tap, channels: int) -> Function:
    """`void name(ptr source, ptr arriving, ptr target)`: gradients brought back to where values were picked."""
    f = Function(name, _BACK)
    _clear(f, frame, geometry, channels)
    with _windows(f, frame, geometry, channels) as (wide, narrow):
        frame.store(f, frame.load(f, "%arriving", narrow), "%target", _at_tap(f, frame, geometry, tap, wide))
    return f


def _at_tap(f: Function, frame: Frame, geometry: Geometry, tap: Tap, wide: str) -> str:
    return f.op("add", I64, wide, str((tap[0] * geometry.source[1] + tap[1]) * frame.stride))


def write_pool(frame: Frame, name: str, geometry: Geometry, channels: int, *, largest: bool) -> Function:
    """`void name(ptr source, ptr target)`: the largest value or the mean of each window, NaN the largest of all."""
    f = Function(name, _MOVE)
    with _windows(f, frame, geometry, channels) as (wide, narrow):
        total = _combined(f, frame, geometry, wide, largest=largest)
        if not largest:
            total = f.op("fmul", frame.kind, total, constant(1.0 / len(geometry.taps), frame.lanes))
        frame.store(f, total, "%target", narrow)
    return f


def write_pool_back(frame: Frame, name: str, geometry: Geometry, channels: int, *, largest: bool) -> Function:
    """`void name(ptr source, ptr arriving, ptr target)`: gradients of windows brought to what the pool has read.

    Of a largest value, the first tap of those that have it receives everything.
    """
    f = Function(name, _BACK)
    apart = all(s >= k for s, k in zip(geometry.stride, geometry.kernel, strict=True))
    if not apart or len(geometry.taps) * geometry.positions < geometry.source[0] * geometry.source[1]:
        _clear(f, frame, geometry, channels)
    kind, mask = frame.kind, vector(frame.lanes, "i1")
    with _windows(f, frame, geometry, channels) as (wide, narrow):
        gradient = frame.load(f, "%arriving", narrow)
        most = _combined(f, frame, geometry, wide, largest=True) if largest else ""
        if not largest:
            gradient = f.op("fmul", kind, gradient, constant(1.0 / len(geometry.taps), frame.lanes))

        def give(left: str, at: str) -> str:
            given = left
            if largest:
                value = frame.load(f, "%source", at)
                same = f.assign(f"fcmp oeq {kind} {value}, {most}")
                wins = f.op("or", mask, same, f.assign(f"fcmp uno {kind} {value}, {value}"))
                given = f.assign(f"select {mask} {wins}, {kind} {left}, {kind} {frame.zero()}")
                left = f.assign(f"select {mask} {wins}, {kind} {frame.zero()}, {kind} {left}")
            if not apart:
                given = f.op("fadd", kind, frame.load(f, "%target", at), given)
            frame.store(f, given, "%target", at)
            return left

        _over(f, frame, geometry, wide, gradient, give)
    return f


def _combined(f: Function, frame: Frame, geometry: Geometry, wide: str, *, largest: bool) -> str:
    """The largest value or the sum of a window of `%source`."""
    kind = frame.kind

    def join(value: str, at: str) -> str:
        seen = frame.load(f, "%source", at)
        if not largest:
            return f.op("fadd", kind, value, seen)
        return f.call(kind, f"llvm.maximum.{suffix(frame.lanes)}", [(kind, value), (kind, seen)])

    start = constant(float("-inf") if largest else 0.0, frame.lanes)
    return _over(f, frame, geometry, wide, start, join)


def _over(f: Function, frame: Frame, geometry: Geometry, wide: str, start: str, each: Callable[[str, str], str]) -> str:
    """What `each` makes of a value at the byte offsets of all taps of a window, one after another."""
    height, width = geometry.kernel
    pitch = geometry.source[1] * frame.stride
    if height * width <= _UNROLLED:
        value = start
        for row in range(height):
            for column in range(width):
                value = each(value, f.op("add", I64, wide, str(row * pitch + column * frame.stride)))
        return value
    with f.loop(height, [(frame.kind, start)]) as rows:
        line = f.op("add", I64, wide, times(f, rows.index, pitch))
        with f.loop(width, [(frame.kind, rows.carried[0])]) as columns:
            at = f.op("add", I64, line, times(f, columns.index, frame.stride))
            columns.following = [each(columns.carried[0], at)]
        rows.following = columns.results
    return rows.results[0]


@contextmanager
def _windows(f: Function, frame: Frame, geometry: Geometry, channels: int) -> Generator[tuple[str, str]]:
    """The loop over all windows and vectors: byte offsets of the first tap, and of the window's value."""
    (height, width), (rows, columns) = geometry.source, geometry.result
    with repeat(f, channels) as channel:
        plane = times(f, str(channel), height * width * frame.stride)
        values = times(f, str(channel), rows * columns * frame.stride)
        with repeat(f, rows) as row:
            top = f.op("add", I64, plane, times(f, str(row), geometry.stride[0] * width * frame.stride))
            line = f.op("add", I64, values, times(f, str(row), columns * frame.stride))
            with repeat(f, columns) as column:
                left = f.op("add", I64, top, times(f, str(column), geometry.stride[1] * frame.stride))
                place = f.op("add", I64, line, times(f, str(column), frame.stride))
                with frame.groups(f, 1) as lane:
                    yield f.op("add", I64, left, str(lane)), f.op("add", I64, place, str(lane))


def _clear(f: Function, frame: Frame, geometry: Geometry, channels: int) -> None:
    with f.loop(channels * geometry.source[0] * geometry.source[1] * frame.stride, step=frame.bytes) as loop:
        frame.store(f, frame.zero(), "%target", loop.index)
