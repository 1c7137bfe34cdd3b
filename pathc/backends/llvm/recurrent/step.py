"""One step of a cell on vectors: from the sums of its gates to output and state.

Quotients of one step are put over common denominators, since a division costs as much as ten multiply-adds; the
denominators of tanh and of the logistic function lie between 1 and 250, so their products neither overflow nor vanish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import Function, constant, vector


@dataclass(frozen=True)
class Stepped:
    """Output of a step and the vectors it hands on."""

    output: str
    state: tuple[str, ...]


class Maths:
    """Arithmetic on vectors of one width, written into a function."""

    def __init__(self, function: Function, lanes: int) -> None:
        self.f, self.lanes, self.kind = function, lanes, vector(lanes)

    def mul(self, a: str, b: str) -> str:
        """a * b."""
        return self.f.op("fmul", self.kind, a, b)

    def add(self, a: str, b: str) -> str:
        """a + b."""
        return self.f.op("fadd", self.kind, a, b)

    def sub(self, a: str, b: str) -> str:
        """a - b."""
        return self.f.op("fsub", self.kind, a, b)

    def div(self, a: str, b: str) -> str:
        """a / b."""
        return self.f.op("fdiv", self.kind, a, b)

    def fma(self, a: str, b: str, c: str) -> str:
        """a * b + c."""
        return self.f.fma(self.lanes, a, b, c)

    def tanh(self, x: str) -> tuple[str, str]:
        """Numerator and denominator."""
        return vecmath.tanh_parts(self.f, self.lanes, x)

    def sigmoid(self, x: str) -> tuple[str, str]:
        """Numerator and denominator."""
        return vecmath.sigmoid_parts(self.f, self.lanes, x)

    def relu(self, x: str) -> str:
        """max(0, x), NaN kept."""
        return vecmath.at_least(self.f, self.lanes, 0.0, x)

    def mix(self, part: tuple[str, str], a: str, b: str) -> str:
        """b + p (a - b) for a fraction p."""
        return self.fma(self.div(*part), self.sub(a, b), b)

    @property
    def one(self) -> str:
        """Ones."""
        return constant(1.0, self.lanes)


def simple(m: Maths, activation: str, total: str) -> Stepped:
    """Cells of one gate: rnn, indrnn, linear."""
    if activation == "tanh":
        total = m.div(*m.tanh(total))
    elif activation == "sigmoid":
        total = m.div(*m.sigmoid(total))
    elif activation == "relu":
        total = m.relu(total)
    return Stepped(total, (total,))


def lstm(m: Maths, sums: Sequence[str], c: str) -> Stepped:
    """c = f c + i g over one denominator, h = o tanh(c) over another."""
    (i, i_below), (f, f_below) = m.sigmoid(sums[0]), m.sigmoid(sums[1])
    g, g_below = m.tanh(sums[2])
    o, o_below = m.sigmoid(sums[3])
    below = m.mul(i_below, g_below)
    kept = m.mul(m.mul(f, c), below)
    c = m.div(m.fma(m.mul(i, g), f_below, kept), m.mul(f_below, below))
    t, t_below = m.tanh(c)
    return Stepped(m.div(m.mul(o, t), m.mul(o_below, t_below)), (c,))


def gru(m: Maths, z: str, n: str, h: str) -> Stepped:
    """h = n + z (h - n) over one denominator, given the sums of update gate and candidate."""
    (n_above, n_below), (z_above, z_below) = m.tanh(n), m.sigmoid(z)
    apart = m.sub(m.mul(h, n_below), n_above)
    above = m.fma(z_above, apart, m.mul(n_above, z_below))
    h = m.div(above, m.mul(n_below, z_below))
    return Stepped(h, (h,))


def ligru(m: Maths, z: str, n: str, h: str) -> Stepped:
    """h = n + z (h - n), n rectified."""
    n = m.relu(n)
    h = m.mix(m.sigmoid(z), h, n)
    return Stepped(h, (h,))


def qrnn(m: Maths, u: Sequence[str], c: str) -> Stepped:
    """c = c + f (z - c), h = o c."""
    c = m.mix(m.sigmoid(u[1]), m.div(*m.tanh(u[0])), c)
    o, below = m.sigmoid(u[2])
    return Stepped(m.div(m.mul(o, c), below), (c,))


def sru(m: Maths, sums: Sequence[str], highway: str, c: str) -> Stepped:
    """c = x + f (c - x), h = highway + r (c - highway); the highway may be zero."""
    c = m.mix(m.sigmoid(sums[1]), c, sums[0])
    return Stepped(m.mix(m.sigmoid(sums[2]), c, highway or constant(0.0, m.lanes)), (c,))
