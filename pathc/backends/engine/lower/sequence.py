"""From a quantized net with cells to a program: time is a LOOP, two groups of steps a round.

The instructions are listed in an order in which each finds what it needs: the products of a state, its ACT, and while
PP is at it whatever needs no state, for the steps of the next group. Tokens come from the rows that instructions
touch (`tokens`), rounds from those that repeat (`roll`). Inputs lie in buffer 0, which LD writes, all else in buffer
1, which PP writes; a new state is written beside the old one, so that the buffers need not be exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator

from pathc.backends.engine.check.access import Access
from pathc.backends.engine.isa import Instruction
from pathc.backends.engine.lower.image import Image, parameters_of
from pathc.backends.engine.lower.roll import LONGEST, Rolled, moved, rolled
from pathc.backends.engine.lower.room import Room, Shape, limits, room_for, shape_of
from pathc.backends.engine.lower.stations import Junction
from pathc.backends.engine.lower.steps import Work, pieces
from pathc.backends.engine.lower.tokens import Op, with_tokens
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Program
from pathc.ir.quantized import IntegerNetwork, IntegerStation
from pathc.support.diagnostics import error

_ROUNDS = 6
"""Rounds that are written out before the rest is known to repeat."""
_WRITTEN = 8
"""Groups of steps that stand in a program, at most: what begins, two that repeat, what ends."""


def lower_sequences(network: IntegerNetwork, machine: Machine, samples: int, steps: int) -> Program:
    """The program for sequences of `steps` steps; raises as `lower`."""
    return _Sequences(network, machine, samples, steps).program()


class _Sequences(Image):
    """A program for groups of samples in lockstep."""

    def __init__(self, network: IntegerNetwork, machine: Machine, samples: int, steps: int) -> None:
        super().__init__(network, machine, samples)
        self.steps = steps
        shape = shape_of(network, self.plans)
        self.room: Room = room_for(shape, machine, samples, min(steps, self._most_ahead()), *self._streaming(shape))
        self.size = self.room.lockstep
        self.free = [each for each in self.others if each.station.name in shape.free]
        self.bound = [each for each in self.others if each.station.name not in shape.free]
        self.parts: dict[int, list[Work]] = {}
        self.output_rows = {each.station.name: shape.rows[each.station.name] for each in self.others
                            if each.station.role == "output"}  # fmt: skip
        self.uncleared: dict[str, list[int]] = {name: [] for name in self.output_rows}

    def _most_ahead(self) -> int:
        """Steps whose instructions fit into the program as often as they are written, and into a LOOP."""
        step = sum(2 * len(plan.works) for plan in self.plans.values()) + (3 + self.samples) * len(self.others)
        return max(1, min(self.machine.program_words // (_WRITTEN * step), LONGEST // (2 * step)))

    def _streaming(self, shape: Shape) -> tuple[int, int, int]:
        """Rows of weights a step that need no state and that do, and cycles in which a row comes."""
        free = bound = interval = 0
        for each in self.others:
            plan = self.plans[each.station.name]
            for junction in (*plan.junctions, *((plan.recurrent,) if plan.recurrent is not None else ())):
                rows = sum(len(work.weights) for work in junction.works)
                ahead = junction.source in shape.free
                free, bound = free + rows * ahead, bound + rows * (not ahead)
                interval = max(interval, self.machine.weight_interval(junction.format))
        return free, bound, interval

    def program(self) -> Program:
        self._settings()
        self._places()
        period = 2 * self.room.ahead
        written = min(self.steps, _ROUNDS * period + self.steps % period)
        ops: list[Op] = []
        passes: list[tuple[int, list[int], int]] = []
        for first in range(0, self.samples, self.room.lockstep):
            self.size = min(self.room.lockstep, self.samples - first)
            marks = list[int]()
            start = len(ops)
            ops += self._pass(first * self.steps, written, marks)
            passes.append((start, [mark + start for mark in marks], self.size))
        code = with_tokens(ops)
        ends = [start for start, _, _ in passes[1:]] + [len(ops)]
        for (start, marks, size), end in zip(passes, ends, strict=True):
            rounds = rolled(code[:end], marks, period)
            if rounds is None and written < self.steps:
                message = f"two groups of {self.room.ahead} steps have more than {LONGEST} instructions"
                raise error("E1051", message, self.network.graph.loc, help="compile the net in parts")
            more = (self.steps - written) // period
            places = [op.place for op in ops]
            for each, place in self._rolled(code, places, range(start, end), rounds, more, size):
                self._append(each, place)
        self._put("HALT", "end")
        return self._finished(self.steps, self.room.lockstep)

    def _rolled(
        self, code: list[Instruction], places: list[int], own: range, rounds: Rolled | None, more: int, size: int
    ) -> Iterator[tuple[Instruction, int]]:
        """The instructions of one pass with their places, those that repeat once, and `more` rounds than written."""
        if rounds is None:
            yield from ((code[number], places[number]) for number in own)
            return
        for number in range(own.start, rounds.start + rounds.length):
            stride = rounds.strides.get(code[number].name, 0) if number >= rounds.start else 0
            yield moved(code[number], 0, stride), places[number]
        yield self._made("LOOP", "steps", length=rounds.length, count=rounds.count + more)
        period = 2 * self.room.ahead * size * more
        later = {"LDA": period * self.room.shape.input_rows, "STA": period * sum(self.output_rows.values())}
        for number in range(rounds.stop, own.stop):
            yield moved(code[number], later.get(code[number].name, 0)), places[number]

    def _places(self) -> None:
        """Rows of all stations in all memories."""
        most, room = limits(self.machine), self.room
        self.at: dict[str, int] = {}
        self.sum_at: dict[str, int] = {}
        self.parameters_at: dict[str, int] = {}
        first = self.inputs[0].station.name
        self._take("buffer 0", room.needed()["buffer 0"], most["buffer 0"], first)
        offset = 0
        for name in room.shape.inputs:
            self.at[name], offset = offset, offset + room.shape.rows[name]
        for each in self.others:
            name, rows = each.station.name, room.shape.rows[each.station.name] * room.lockstep
            self.sum_at[name] = self._take("accumulators", rows * room.sums(name), most["accumulators"], name)
            if each.reading is not None:
                self.at[name] = self._take("buffer 1", rows * room.states(name), most["buffer 1"], name)
            self.parameters_at[name] = self._take("parameters", rows, most["parameters"], name)
            self.parameters += [parameters_of(each, self.plans[name].layout)] * room.lockstep
        last = self.others[-1].station.name
        self.scratch = self._take("buffer 1", room.shape.scratch * room.lockstep, most["buffer 1"], last)

    def _pass(self, outside: int, steps: int, marks: list[int]) -> list[Op]:
        """All steps of one group of samples, whose rows begin at step `outside`; `marks` gets where steps begin."""
        ahead = self.room.ahead
        groups = -(-steps // ahead)
        ops = [op for group in range(min(2, groups)) for op in self._load(outside, group, steps)]
        ops += [op for part in self._free(outside, 0, steps) for op in part]
        for group in range(groups):
            following = list(self._free(outside, group + 1, steps)) if group + 1 < groups else []
            own = range(group * ahead, min((group + 1) * ahead, steps))
            shares = _shares(following, len(own))
            for t, share in zip(own, shares, strict=True):
                marks.append(len(ops))
                if t == own.start and group + 2 < groups:
                    ops += self._load(outside, group + 2, steps)
                ops += self._step(outside, t, share)
        return ops + [op for name in self.uncleared for op in self._clear(name, steps + 2 * ahead)]

    def _held(self, group: int, steps: int) -> int:
        """Steps of a group times samples."""
        return (min((group + 1) * self.room.ahead, steps) - group * self.room.ahead) * self.size

    def _row(self, name: str, step: int) -> int:
        """First row of activations of a step: one set for each sample, side by side."""
        rows, at = self.room.shape.rows, self.at[name]
        if name in self.room.shape.inputs:
            return at + step % (2 * self.room.ahead) * self.size * self.room.shape.input_rows
        return at + step % self.room.states(name) * self.size * rows[name]

    def _sum(self, name: str, step: int) -> int:
        return self.sum_at[name] + step % self.room.sums(name) * self.size * self.room.shape.rows[name]

    def _load(self, outside: int, group: int, steps: int) -> list[Op]:
        """LDA of the inputs of a group."""
        name, rows = self.room.shape.inputs[0], self.room.shape.input_rows
        first, count = self._row(name, group * self.room.ahead), self._held(group, steps) * rows
        address = (outside + group * self.room.ahead * self.size) * rows
        return [self._op("LDA", name, (Access("activations 0", first, first + count - 1, True, "write"),),
                         row=first, rows=count, address=address)]  # fmt: skip

    def _free(self, outside: int, group: int, steps: int) -> Iterator[list[Op]]:
        """What needs no state, for the steps of a group, in pieces: stations, and sums of others that wait for them."""
        first, hold = group * self.room.ahead, self._held(group, steps)
        for each in (*self.free, *self.bound):
            name = each.station.name
            for junction in self.plans[name].junctions:
                if junction.source in self.room.shape.free:
                    for work in junction.works:
                        for part in self.parts.setdefault(id(work), pieces(work, self.room.ahead)):
                            yield self._products(junction, each, part, first, first, hold)
            if name in self.room.shape.free:
                for step in range(first, first + hold // self.size):
                    yield [*self._activate(each, step), *self._store(each, outside, step)]
                yield self._clear(name, first)

    def _step(self, outside: int, step: int, share: list[Op]) -> list[Op]:
        """What needs a state, for one step, and behind its first ACT the share of what does not."""
        ops: list[Op] = []
        for number, each in enumerate(self.bound):
            plan = self.plans[each.station.name]
            if step and plan.recurrent is not None:
                for work in plan.recurrent.works:
                    ops += self._products(plan.recurrent, each, work, step - 1, step, self.size)
            for junction in plan.junctions:
                if junction.source not in self.room.shape.free:
                    for work in junction.works:
                        ops += self._products(junction, each, work, step, step, self.size)
            ops += self._activate(each, step)
            if not number:
                ops += [op for other in self.bound for op in self._clear(other.station.name, step)]
                ops += share
            ops += self._store(each, outside, step)
        return ops

    def _products(
        self, junction: Junction, each: IntegerStation, work: Work, read: int, step: int, hold: int
    ) -> list[Op]:
        """LDW and the instruction that adds products of the source at step `read` to the sums of `step`, and so on."""
        name, shape = each.station.name, self.room.shape
        inputs = junction.source in shape.inputs
        rows, stride = shape.rows[name], shape.input_rows if inputs else shape.rows[junction.source]
        source, target = self._row(junction.source, read), self._sum(name, step)
        fields = self._steps(junction, work, self.plans[name].layout)
        fields.update(source=source + fields.get("source", 0), sum=target + fields.get("sum", 0), hold=hold)
        if hold > 1:
            fields.update(source_stride=stride, sum_stride=rows)
        touched = (
            Access(f"activations {int(not inputs)}", source, source + (hold - 1) * stride
                   + shape.rows[junction.source] - 1, False),
            Access("sums", target, target + hold * rows - 1, True),
        )  # fmt: skip
        return [self._op("LDW", junction.name, (), **self._streamed(work, junction.format)),
                self._op(work.name, junction.name, touched, buffer=int(not inputs), **fields)]  # fmt: skip

    def _activate(self, each: IntegerStation, step: int) -> list[Op]:
        """ACT of all samples at one step."""
        name = each.station.name
        rows, total = self.room.shape.rows[name] * self.size, self._sum(name, step)
        fields = {"sum": total, "rows": rows, **self._activated(each, self.parameters_at[name])}
        touched = [Access("sums", total, total + rows - 1, True)]
        if each.reading is not None:
            fields["row"] = self._row(name, step)
            touched.append(Access("activations 1", fields["row"], fields["row"] + rows - 1, True, "write"))
        elif each.station.role == "output":
            self.uncleared[name].append(step)
        return [self._op("ACT", name, tuple(touched), **fields)]

    def _store(self, each: IntegerStation, outside: int, step: int) -> list[Op]:
        """STA of an output: samples lie side by side outside, outputs side by side in each of them."""
        name = each.station.name
        if name not in self.output_rows:
            return []
        rows, whole = self.output_rows[name], sum(self.output_rows.values())
        before = sum(list(self.output_rows.values())[: list(self.output_rows).index(name)])
        wide = each.reading is None
        row = self._sum(name, step) if wide else self._row(name, step)
        each_alone = self.size if len(self.output_rows) > 1 else 1
        count = rows * self.size // each_alone
        ops: list[Op] = []
        for sample in range(each_alone):
            first = row + sample * count
            touched = Access("sums" if wide else "activations 1", first, first + count - 1, False)
            address = (outside + step * self.size + sample) * whole + before
            ops.append(self._op("STA", name, (touched,), buffer=int(not wide), wide=int(wide), row=first, rows=count,
                                address=address))  # fmt: skip
        return ops

    def _clear(self, name: str, step: int) -> list[Op]:
        """ACT that leaves zeros where sums of earlier steps were stored, its values where nobody reads."""
        ops: list[Op] = []
        for old in [t for t in self.uncleared.get(name, ()) if t < step]:
            self.uncleared[name].remove(old)
            rows, total = self.room.shape.rows[name] * self.size, self._sum(name, old)
            touched = (Access("sums", total, total + rows - 1, True),
                       Access("activations 1", self.scratch, self.scratch + rows - 1, True, "write"))  # fmt: skip
            ops.append(self._op("ACT", name, touched, sum=total, rows=rows, parameters=self.parameters_at[name],
                                buffer=1, row=self.scratch, low=0, high=0))  # fmt: skip
        return ops

    def _op(self, name: str, place: str, touched: tuple[Access, ...], **fields: int) -> Op:
        return Op(*self._made(name, place, **fields), touched)


def _shares(parts: list[list[Op]], count: int) -> list[list[Op]]:
    """The parts dealt out in order, so that each of `count` shares takes EX about as long."""
    lengths = [sum(op.each.fields["rows"] for op in part if op.each.name == "LDW") for part in parts]
    whole, before = max(sum(lengths), 1), 0
    shares: list[list[Op]] = [[] for _ in range(count)]
    for part, length in zip(parts, lengths, strict=True):
        shares[min(before * count // whole, count - 1)] += part
        before += length
    return shares
