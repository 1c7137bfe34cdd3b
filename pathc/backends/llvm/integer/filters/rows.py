"""Rows of planes as code: pieces of vectors that cover a row, elements at equal distances."""

from __future__ import annotations

from collections.abc import Callable

from pathc.backends.llvm.emit import I64, Function, vector
from pathc.backends.llvm.integer.vectors import I8, I32, cast

SIZES = {I8: 1, I32: 4}
"""Bytes of an element."""
Pair = tuple[int, int]


def pieces(count: int, most: int) -> list[Pair]:
    """(start, length) of vectors, powers of two up to `most`, that cover `count` elements once."""
    found: list[Pair] = []
    start, size = 0, most
    while start < count:
        if size <= count - start:
            found.append((start, size))
            start += size
        else:
            size //= 2
    return found


def number(value: int, count: int, element: str = I32) -> str:
    """A constant of a vector, or of a scalar where `count` is 1."""
    return str(value) if count == 1 else f"splat ({element} {value})"


def load(f: Function, at: str, count: int, element: str, stride: int = 1) -> str:
    """`count` elements, `stride` apart; what lies between them is read, too."""
    if stride == 1 or count == 1:
        return f.load(vector(count, element), at, 1)
    kind = vector(count * stride, element)
    whole = f.load(kind, at, 1)
    mask = ", ".join(f"i32 {stride * i}" for i in range(count))
    return f.assign(f"shufflevector {kind} {whole}, {kind} poison, <{count} x i32> <{mask}>")


def store(f: Function, value: str, at: str, count: int, element: str) -> None:
    """Store `count` elements, wherever they lie."""
    f.store(vector(count, element), value, at, 1)


def widened(f: Function, value: str, count: int) -> str:
    """Bytes as 32-bit integers."""
    return cast(f, value, vector(count, I8), vector(count, I32), "zext")


def each_channel(f: Function, count: str | int, numbers: int, body: Callable[[str, list[str]], None]) -> None:
    """`body` with the index of every channel and its `numbers` 64-bit numbers of `%table`."""
    with f.loop(count) as loop:
        row = f.offset("%table", f.op("mul", I64, loop.index, str(numbers)), I64)
        body(loop.index, [f.load(I64, f.offset(row, k, I64), 8) for k in range(numbers)])
        loop.following = []


def each_row(f: Function, count: int, starts: tuple[str, str], steps: Pair, body: Callable[[str, str], None]) -> None:
    """`body` with two addresses of every row, `steps` bytes from row to row."""
    if count == 1:
        body(*starts)
        return
    with f.loop(count) as loop:
        body(
            *(f.offset(at, f.op("mul", I64, loop.index, str(step)), I8) for at, step in zip(starts, steps, strict=True))
        )
        loop.following = []
