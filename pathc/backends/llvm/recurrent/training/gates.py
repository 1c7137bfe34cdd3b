"""One step of a cell on vectors with its gates kept, and the same step undone.

The formulas are those of `pathc.ir.interp.recurrent.formulas`; d is the gradient at what a step hands out, that of a
gate the one at its sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.llvm.emit import constant, vector
from pathc.backends.llvm.recurrent.step import Maths
from pathc.ir.cells import Cell


@dataclass(frozen=True)
class Kept:
    """A step done: gates after their functions, output, the states handed on."""

    gates: tuple[str, ...]
    output: str
    state: tuple[str, ...]


@dataclass(frozen=True)
class Undone:
    """A step undone: gradients at the sums of gates and at what matrices made (of the last gates), and what goes on.

    `carried` is the gradient that reaches the state before the step past the matrices; `highway` that at a highway.
    """

    gates: tuple[str, ...]
    products: tuple[str, ...] = ()
    carried: str = ""
    highway: str = ""


@dataclass(frozen=True)
class Held:
    """What is known of a step to be undone: gates, states before and after, U h of a gru, highway, what came in."""

    gates: Sequence[str]
    h: str = ""
    after: str = ""
    c: str = ""
    c_after: str = ""
    product: str = ""
    highway: str = ""
    carried: str = ""


class Gates(Maths):
    """Formulas of all cells, both ways."""

    def minus(self, a: str) -> str:
        """1 - a."""
        return self.sub(self.one, a)

    def slope(self, y: str) -> str:
        """The derivative of a logistic function of value y."""
        return self.fma(self._negated(y), y, y)

    def tanh_slope(self, y: str) -> str:
        """The derivative of a tanh of value y."""
        return self.fma(self._negated(y), y, self.one)

    def where_positive(self, y: str, d: str) -> str:
        """d where y > 0, zero elsewhere."""
        there = self.f.assign(f"fcmp ogt {self.kind} {y}, {constant(0.0, self.lanes)}")
        zero = constant(0.0, self.lanes)
        return self.f.assign(f"select {vector(self.lanes, 'i1')} {there}, {self.kind} {d}, {self.kind} {zero}")

    def _negated(self, a: str) -> str:
        return self.f.assign(f"fneg {self.kind} {a}")

    def _sigmoid(self, x: str) -> str:
        return self.div(*self.sigmoid(x))

    def _tanh(self, x: str) -> str:
        return self.div(*self.tanh(x))

    def step(self, cell: Cell, sums: Sequence[str], h: str, c: str, product: str, highway: str) -> Kept:
        """One step; `product` is U h of the candidate of a gru whose reset acts after it."""
        match cell.name:
            case "lstm":
                i, f, g, o = (self._tanh(s) if k == 2 else self._sigmoid(s) for k, s in enumerate(sums))
                c = self.fma(f, c, self.mul(i, g))
                h = self.mul(o, self._tanh(c))
                return Kept((i, f, g, o), h, (h, c))
            case "gru":
                r = sums[0] if cell.reset == "before" else self._sigmoid(sums[0])
                z = self._sigmoid(sums[1])
                n = self._tanh(self.fma(r, product, sums[2]) if product else sums[2])
                h = self.fma(z, self.sub(h, n), n)
                return Kept((r, z, n), h, (h,))
            case "ligru":
                z, n = self._sigmoid(sums[0]), self.relu(sums[1])
                h = self.fma(z, self.sub(h, n), n)
                return Kept((z, n), h, (h,))
            case "qrnn":
                z, f, o = self._tanh(sums[0]), self._sigmoid(sums[1]), self._sigmoid(sums[2])
                h = self.fma(f, self.sub(z, h), h)
                return Kept((z, f, o), self.mul(o, h), (h,))
            case "sru":
                f, r = self._sigmoid(sums[1]), self._sigmoid(sums[2])
                h = self.fma(f, self.sub(h, sums[0]), sums[0])
                over = highway or constant(0.0, self.lanes)
                return Kept((sums[0], f, r), self.fma(r, self.sub(h, over), over), (h,))
            case _:
                h = self._simple(cell, sums[0])
                return Kept((h,), h, (h,))

    def _simple(self, cell: Cell, total: str) -> str:
        match "identity" if cell.name == "linear" else cell.activation:
            case "tanh":
                return self._tanh(total)
            case "sigmoid":
                return self._sigmoid(total)
            case "relu":
                return self.relu(total)
            case _:
                return total

    def undo(self, cell: Cell, held: Held, d: str) -> Undone:
        """One step undone, but for the reset gate of a gru that acts before the matrix: see `undo_reset`."""
        match cell.name:
            case "lstm":
                return self._undo_lstm(held, d)
            case "gru":
                return self._undo_gru(cell, held, d)
            case "ligru":
                z, n = held.gates
                at_z = self.mul(self.mul(d, self.sub(held.h, n)), self.slope(z))
                at_n = self.where_positive(n, self.mul(d, self.minus(z)))
                return Undone((at_z, at_n), (at_z, at_n), self.mul(d, z))
            case "qrnn":
                z, f, o = held.gates
                at_c = self.fma(d, o, held.carried)
                at_z = self.mul(self.mul(at_c, f), self.tanh_slope(z))
                at_f = self.mul(self.mul(at_c, self.sub(z, held.h)), self.slope(f))
                at_o = self.mul(self.mul(d, held.after), self.slope(o))
                return Undone((at_z, at_f, at_o), (), self.mul(at_c, self.minus(f)))
            case "sru":
                return self._undo_sru(held, d)
            case _:
                return self._undo_simple(cell, held, d)

    def _undo_simple(self, cell: Cell, held: Held, d: str) -> Undone:
        y = held.gates[0]
        match "identity" if cell.name == "linear" else cell.activation:
            case "tanh":
                d = self.mul(d, self.tanh_slope(y))
            case "sigmoid":
                d = self.mul(d, self.slope(y))
            case "relu":
                d = self.where_positive(y, d)
            case _:
                pass
        return Undone((d,), (d,))

    def _undo_lstm(self, held: Held, d: str) -> Undone:
        i, f, g, o = held.gates
        t = self._tanh(held.c_after)
        at_c = self.fma(self.mul(d, o), self.tanh_slope(t), held.carried)
        at_i = self.mul(self.mul(at_c, g), self.slope(i))
        at_f = self.mul(self.mul(at_c, held.c), self.slope(f))
        at_g = self.mul(self.mul(at_c, i), self.tanh_slope(g))
        at_o = self.mul(self.mul(d, t), self.slope(o))
        every = (at_i, at_f, at_g, at_o)
        return Undone(every, every, self.mul(at_c, f))

    def _undo_gru(self, cell: Cell, held: Held, d: str) -> Undone:
        r, z, n = held.gates
        at_z = self.mul(self.mul(d, self.sub(held.h, n)), self.slope(z))
        at_n = self.mul(self.mul(d, self.minus(z)), self.tanh_slope(n))
        carried = self.mul(d, z)
        if cell.reset == "before":
            return Undone(("", at_z, at_n), ("", at_z, at_n), carried)
        at_r = self.mul(self.mul(at_n, held.product), self.slope(r))
        return Undone((at_r, at_z, at_n), (at_r, at_z, self.mul(at_n, r)), carried)

    def undo_reset(self, r: str, h: str, d: str, carried: str) -> tuple[str, str]:
        """The gradient at the sum of the reset gate, and what is carried on, given that at r h."""
        return self.mul(self.mul(d, h), self.slope(r)), self.fma(d, r, carried)

    def _undo_sru(self, held: Held, d: str) -> Undone:
        x, f, r = held.gates
        over = held.highway or constant(0.0, self.lanes)
        at_c = self.fma(d, r, held.carried)
        at_x = self.mul(at_c, self.minus(f))
        at_f = self.mul(self.mul(at_c, self.sub(held.h, x)), self.slope(f))
        at_r = self.mul(self.mul(d, self.sub(held.after, over)), self.slope(r))
        highway = self.mul(d, self.minus(r)) if held.highway else ""
        return Undone((at_x, at_f, at_r), (at_f, at_r), self.mul(at_c, f), highway)
