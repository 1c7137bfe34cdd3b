"""What happens to gradients: kept, or one step of the optimizer on every path's weight; copies of weights renewed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.llvm.column.common import byte_offset
from pathc.backends.llvm.emit import F32, I64, Function, constant, suffix, vector
from pathc.backends.llvm.training.frame import Frame, Reduction, added, lane_sum
from pathc.backends.llvm.training.optimizers import NUMBERS, Optimizer
from pathc.backends.llvm.training.tensors import Tensor

RANGE = (
    ("ptr noalias", "params"),
    ("ptr noalias", "acts"),
    ("ptr noalias", "numbers"),
    (I64, "span"),
    (I64, "start"),
    (I64, "stop"),
    ("ptr noalias", "mask"),
    ("ptr noalias", "aside"),
)
"""Parameters of kernels that work on a range of weights: `span` is the bytes of all tiles.

In steps with a window `mask` has -1 for weights inside and 0 outside, int32, and `aside` holds all weights.
"""


@dataclass
class Sink:
    """Takes gradients of a tensor, a vector at a time.

    Without an optimizer they are stored; with one, the weights move. `extra` adds the gradients of other uses of
    the tensor, `fixed` keeps every weight on its side of zero. If `windowed`, weights outside the window come back
    from where they were laid, and their moments stay.
    """

    f: Function
    frame: Frame
    tensor: Tensor
    optimizer: Optimizer | None
    fixed: bool
    extra: bool
    windowed: bool = False

    def __post_init__(self) -> None:
        f, lanes = self.f, self.frame.lanes
        self.numbers: Sequence[str] = ()
        if self.optimizer is not None:
            self.numbers = [f.broadcast(lanes, f.load(F32, f.offset("%numbers", k))) for k in range(NUMBERS)]

    def __call__(self, f: Function, gradient: str, slot: str) -> None:
        """Write what happens to the gradients of the slots from `slot` on."""
        frame, tensor = self.frame, self.tensor
        at = f.op("shl", I64, slot, "2", "nuw nsw")
        if self.extra:
            more = frame.load(f, byte_offset(f, "%params", tensor.extra), at)
            gradient = f.op("fadd", frame.kind, gradient, more)
        if self.optimizer is None:
            frame.store(f, gradient, byte_offset(f, "%params", tensor.gradient), at)
        elif tensor.copies == 1:
            # Cells of a panel where no path leads have gradients, too, but no weight that could move.
            if tensor.counts >= 0:
                gradient = self._existing(f, at, gradient, "zeroinitializer")
            self._step(f, self.optimizer, at, gradient)
        else:
            self._copies(f, self.optimizer, at, gradient)

    def _copies(self, f: Function, optimizer: Optimizer, at: str, gradient: str) -> None:
        """One step for every path of a slot, and the sum of their weights."""
        frame, tensor = self.frame, self.tensor
        with f.loop(self._most(f, at), [(frame.kind, frame.zero())]) as loop:
            own = gradient
            if tensor.counts >= 0:
                number = f.broadcast(frame.lanes, f.assign(f"trunc i64 {loop.index} to i32"), "i32")
                own = self._existing(f, at, gradient, number)
            moved = f.op("mul", I64, loop.index, str(4 * tensor.size), "nuw nsw")
            weight = self._step(f, optimizer, added(f, at, moved), own)
            loop.following = [f.op("fadd", frame.kind, loop.carried[0], weight)]
        frame.store(f, loop.results[0], byte_offset(f, "%params", tensor.working), at)

    def _most(self, f: Function, at: str) -> str | int:
        """Copies of the slots of a vector, at least one: behind the most there are all are zero, and stay so."""
        frame, tensor = self.frame, self.tensor
        if tensor.counts < 0 or frame.lanes == 1:
            return tensor.copies
        whole, name = vector(frame.lanes, "i32"), f"llvm.vector.reduce.umax.{suffix(frame.lanes, 'i32')}"
        counts = f.load(whole, byte_offset(f, byte_offset(f, "%params", tensor.counts), at), frame.bytes)
        most = f.assign(f"zext i32 {f.call('i32', name, [(whole, counts)])} to {I64}")
        return f.call(I64, "llvm.umax.i64", [(I64, most), (I64, "1")])

    def _existing(self, f: Function, at: str, gradient: str, number: str) -> str:
        """The gradient where copy `number` of a slot exists, zero elsewhere."""
        frame, whole = self.frame, vector(self.frame.lanes, "i32")
        counts = f.load(whole, byte_offset(f, byte_offset(f, "%params", self.tensor.counts), at), frame.bytes)
        exists = f.assign(f"icmp slt {whole} {number}, {counts}")
        mask = vector(frame.lanes, "i1")
        return f.assign(f"select {mask} {exists}, {frame.kind} {gradient}, {frame.kind} {frame.zero()}")

    def _step(self, f: Function, optimizer: Optimizer, at: str, gradient: str) -> str:
        frame, tensor = self.frame, self.tensor
        places = [byte_offset(f, "%params", base) for base in (tensor.master, *tensor.moments)]
        old, *moments = (frame.load(f, place, at) for place in places)
        new, after = optimizer.write(f, frame.lanes, self.numbers, old, gradient, moments)
        if self.fixed and not tensor.bias:
            new = self._on_its_side(f, old, new)
        if self.windowed:
            inside = _inside(f, frame, tensor, at)
            outside = [frame.load(f, byte_offset(f, "%aside", tensor.aside), at), *moments]
            chosen = [
                f.assign(f"select {vector(frame.lanes, 'i1')} {inside}, {frame.kind} {a}, {frame.kind} {b}")
                for a, b in zip((new, *after), outside, strict=True)
            ]
            new, after = chosen[0], tuple(chosen[1:])
        for place, value in zip(places, (new, *after), strict=True):
            frame.store(f, value, place, at)
        return new

    def _on_its_side(self, f: Function, old: str, new: str) -> str:
        """The new weight, or zero with the old one's sign if it has another sign; a NaN stays."""
        lanes, kind = self.frame.lanes, self.frame.kind
        name, one, zero = f"llvm.copysign.{suffix(lanes)}", constant(1.0, lanes), self.frame.zero()
        side = f.call(kind, name, [(kind, one), (kind, old)])
        crossed = f.assign(f"fcmp olt {kind} {f.op('fmul', kind, new, side)}, {zero}")
        floor = f.call(kind, name, [(kind, zero), (kind, old)])
        return f.assign(f"select {vector(lanes, 'i1')} {crossed}, {kind} {floor}, {kind} {new}")


def _inside(f: Function, frame: Frame, tensor: Tensor, at: str) -> str:
    """Which weights at byte offset `at` are inside the window."""
    whole = vector(frame.lanes, "i32")
    found = f.load(whole, byte_offset(f, byte_offset(f, "%mask", tensor.aside), at), frame.bytes)
    return f.assign(f"icmp ne {whole} {found}, zeroinitializer")


def write_swap(frame: Frame, name: str, tensor: Tensor, *, hide: bool) -> Function:
    """The kernel that lays all weights aside and leaves those of a window, or brings them back."""
    f = Function(name, RANGE)
    master, aside = byte_offset(f, "%params", tensor.master), byte_offset(f, "%aside", tensor.aside)
    with f.loop("%stop", start="%start") as loop:
        first = f.op("mul", I64, loop.index, str(frame.bytes), "nuw nsw")
        with f.loop(tensor.copies, [(frame.kind, frame.zero())]) as copies:
            at = added(f, first, f.op("mul", I64, copies.index, str(4 * tensor.size), "nuw nsw"))
            value = frame.load(f, master if hide else aside, at)
            if hide:
                frame.store(f, value, aside, at)
                inside = _inside(f, frame, tensor, at)
                value = f.assign(
                    f"select {vector(frame.lanes, 'i1')} {inside}, {frame.kind} {value}, {frame.kind} {frame.zero()}"
                )
            frame.store(f, value, master, at)
            copies.following = [f.op("fadd", frame.kind, copies.carried[0], value)]
        if tensor.copies > 1:
            frame.store(f, copies.results[0], byte_offset(f, "%params", tensor.working), first)
    return f


def write_bias_gradient(frame: Frame, name: str, delta: int, tile_bytes: int, rows: int, sink: Sink) -> None:
    """Write the sums of the rows of a gradient over the batch, for vectors of units `%start` .. `%stop` - 1."""
    f, lanes = sink.f, frame.lanes
    reduced = Reduction(f, lanes)
    with f.loop("%stop", start="%start") as loop:
        first = f.op("mul", I64, loop.index, str(lanes), "nuw nsw")
        base = byte_offset(f, "%acts", delta)
        places = list[str]()
        for lane in range(lanes):
            row = f.call(I64, "llvm.umin.i64", [(I64, added(f, first, lane)), (I64, str(rows))])
            places.append(byte_offset(f, base, f.op("shl", I64, row, str(frame.shift))))
        with f.loop("%span", [(frame.kind, frame.zero())] * lanes, step=tile_bytes) as tiles:
            total = list(tiles.carried)
            for v in range(frame.vectors):
                here = added(f, tiles.index, v * frame.bytes)
                total = [
                    f.op("fadd", frame.kind, t, frame.load(f, p, here)) for t, p in zip(total, places, strict=True)
                ]
            tiles.following = total
        sink(f, reduced(tiles.results.__getitem__), first)


def write_channel_sums(
    frame: Frame, name: str, deltas: Sequence[int], positions: int, gradient: int, tile_bytes: int
) -> Function:
    """The kernel that sums gradients of channels `%start` .. `%stop` - 1 over positions and the batch.

    `deltas` are where they begin in a tile, `gradient` is where sums go.
    """
    f = Function(name, RANGE)
    plane = positions * frame.stride
    with f.loop("%stop", start="%start") as loop:
        first = f.op("mul", I64, loop.index, str(plane), "nuw nsw")
        places = [byte_offset(f, byte_offset(f, "%acts", delta), first) for delta in deltas]
        with f.loop("%span", [(frame.kind, frame.zero())], step=tile_bytes) as tiles:
            with f.loop(plane, [(frame.kind, tiles.carried[0])], step=frame.bytes) as rows:
                total = rows.carried[0]
                for place in places:
                    at = added(f, tiles.index, rows.index)
                    total = f.op("fadd", frame.kind, total, frame.load(f, place, at))
                rows.following = [total]
            tiles.following = rows.results
        value = lane_sum(f, frame, tiles.results[0])
        f.store(F32, value, f.offset(byte_offset(f, "%params", gradient), loop.index))
    return f


def write_settled(sink: Sink) -> None:
    """Write what becomes of the gradients of vectors `%start` .. `%stop` - 1, which are complete in memory."""
    f, frame = sink.f, sink.frame
    with f.loop("%stop", start="%start") as loop:
        slot = f.op("mul", I64, loop.index, str(frame.lanes), "nuw nsw")
        gradients = f.offset(byte_offset(f, "%params", sink.tensor.gradient), slot)
        sink(f, frame.load(f, gradients, 0), slot)


def write_copy(name: str, frame: Frame, index: int, source: int, target: int, *, add: bool) -> Function:
    """The kernel that copies (or adds) `source[index[i]]` to `target[i]` for vectors `%start` .. `%stop` - 1."""
    f = Function(name, RANGE)
    table, values, to = (byte_offset(f, "%params", at) for at in (index, source, target))
    with f.loop("%stop", start="%start") as loop:
        first = f.op("mul", I64, loop.index, str(frame.lanes), "nuw nsw")
        here, out = f.offset(table, first, "i32"), f.offset(to, first)
        for lane in range(frame.lanes):
            number = f.load("i32", f.offset(here, lane, "i32"))
            value = f.load(F32, f.offset(values, f.assign(f"zext i32 {number} to i64")))
            place = f.offset(out, lane)
            if add:
                value = f.op("fadd", F32, value, f.load(F32, place))
            f.store(F32, value, place)
    return f
