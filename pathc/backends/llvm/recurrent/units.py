"""The units of a cell as vectors: the last one may be filled in part, and rings repeat both ends beyond the other."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from pathc.backends.llvm.column.common import when_positive
from pathc.backends.llvm.emit import I64, Function, constant, vector
from pathc.backends.llvm.recurrent.layout import Layout

Write = Callable[[str, int], None]


class Units:
    """Writes loops over the vectors of a layout; loads and stores of those of which `rest` units exist (0: all)."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.lanes, self.kind = layout, layout.lanes, vector(layout.lanes)
        self.full, self.rest = divmod(layout.cell.hidden, layout.lanes)

    def every(self, f: Function, write: Write) -> None:
        """Write something for every vector of units: a loop over whole ones, then the last one."""
        if self.full:
            with f.loop(self.full * self.lanes, step=self.lanes) as loop:
                write(loop.index, 0)
                loop.following = []
        if self.rest:
            write(str(self.full * self.lanes), self.rest)

    def walk(self, f: Function, weights: str, write: Callable[[str, int, str], str]) -> None:
        """The same where weights pass by: `write` is told where they are and says where the next ones are."""
        if self.full:
            with f.loop(self.full * self.lanes, [("ptr", weights)], step=self.lanes) as loop:
                loop.following = [write(loop.index, 0, loop.carried[0])]
            weights = loop.results[0]
        if self.rest:
            write(str(self.full * self.lanes), self.rest, weights)

    def wrap(self, f: Function, state: str) -> None:
        """Repeat both ends of a ring beyond the other end."""
        reach, n = self.layout.reach, self.layout.cell.hidden
        if not self.layout.wrapped or not reach:
            return
        with f.loop(reach) as loop:
            first = f.load("float", f.offset(state, loop.index))
            f.store("float", first, f.offset(f.offset(state, n), loop.index))
            last = f.load("float", f.offset(f.offset(state, n - reach), loop.index))
            f.store("float", last, f.offset(f.offset(state, -reach), loop.index))
            loop.following = []

    def load(self, f: Function, pointer: str, rest: int) -> str:
        """A vector, zero where no unit exists."""
        return self.masked_load(f, pointer, mask(self.lanes, rest)) if rest else f.load(self.kind, pointer)

    def masked_load(self, f: Function, pointer: str, chosen: str) -> str:
        """A vector, zero where it is not chosen."""
        zero = constant(0.0, self.lanes)
        given = [("ptr", pointer), ("i32", "4"), (vector(self.lanes, "i1"), chosen), (self.kind, zero)]
        return f.call(self.kind, f"llvm.masked.load.v{self.lanes}f32.p0", given)

    def store(self, f: Function, value: str, pointer: str, rest: int) -> None:
        """Store a vector where units exist."""
        if rest:
            self.masked_store(f, value, pointer, mask(self.lanes, rest))
        else:
            f.store(self.kind, value, pointer)

    def masked_store(self, f: Function, value: str, pointer: str, chosen: str) -> None:
        """Store a vector where it is chosen."""
        given = [(self.kind, value), ("ptr", pointer), ("i32", "4"), (vector(self.lanes, "i1"), chosen)]
        f.call("void", f"llvm.masked.store.v{self.lanes}f32.p0", given)


def mask(lanes: int, count: int) -> str:
    """The first lanes."""
    inner = ", ".join(f"i1 {'true' if lane < count else 'false'}" for lane in range(lanes))
    return f"<{inner}>"


@contextmanager
def repeat(f: Function, count: str) -> Generator[str]:
    """A loop that may have no round."""
    with when_positive(f, count), f.loop(count) as loop:
        yield loop.index
        loop.following = []


def clear(f: Function, pointer: str, floats: int, lanes: int) -> None:
    """Zeros in so many floats, a multiple of the lanes."""
    with f.loop(floats, step=lanes) as loop:
        f.store(vector(lanes), constant(0.0, lanes), f.offset(pointer, loop.index), 4)
        loop.following = []


def at_sample(f: Function, pointer: str, number: int | str, stride: str) -> str:
    """Where the data of sample `number` lie."""
    return f.offset(pointer, f.op("mul", I64, str(number), stride)) if number != 0 else pointer
