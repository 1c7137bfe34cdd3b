"""One step of every cell, written once over terms.

u is what the lines bring to a gate, U the hidden-to-hidden matrix of a gate, s the logistic function.

    rnn     h = f(u + U h)
    lstm    i, f, o = s(u + U h); g = tanh(u + U h); c = f c + i g; h = o tanh(c)
    gru     r, z = s(u + U h); n = tanh(u + r (U h)), reset = before: tanh(u + U (r h)); h = (1 - z) n + z h
    ligru   z = s(u + U h); n = relu(u + U h); h = z h + (1 - z) n          (Ravanelli et al., 2018)
    qrnn    z = tanh(u); f, o = s(u); c = f z + (1 - f) c; h = o c           (Bradbury et al., 2017)
    sru     f, r = s(u + v c); c = f c + (1 - f) u; h = r c + (1 - r) x      (Lei et al., 2018)
    indrnn  h = relu(u + v h)                                               (Li et al., 2018)
    linear  h = u + U h

The highway x of an sru is what skips bring into its station.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pathc.ir.cells import Cell
from pathc.ir.interp.recurrent.matrix import Matrix
from pathc.ir.interp.recurrent.terms import Term

T = TypeVar("T", bound=Term)


@dataclass(frozen=True)
class Now(Generic[T]):
    """What a step sees: the inputs of the gates, the highway, the state, matrices of its recurrent gates, ones."""

    cell: Cell
    u: Sequence[T]
    highway: T
    state: tuple[T, ...]
    matrices: Sequence[Matrix]
    one: T


@dataclass(frozen=True)
class Step(Generic[T]):
    """What a step makes: the output, the state handed on, and the gates after their functions, by name."""

    output: T
    state: tuple[T, ...]
    gates: dict[str, T]


def step(now: Now[T]) -> Step[T]:
    """One step of a cell."""
    match now.cell.name:
        case "lstm":
            return _lstm(now)
        case "gru":
            return _gru(now)
        case "ligru":
            return _ligru(now)
        case "qrnn":
            return _qrnn(now)
        case "sru":
            return _sru(now)
        case _:
            return _simple(now)


def _simple(now: Now[T]) -> Step[T]:
    """Cells of one gate: rnn, indrnn, linear."""
    total = now.u[0].gathered(now.state[0], now.matrices[0])
    match "identity" if now.cell.name == "linear" else now.cell.activation:
        case "tanh":
            h = total.tanh()
        case "relu":
            h = total.relu()
        case "sigmoid":
            h = total.sigmoid()
        case _:
            h = total
    return Step(h, (h,), {"h": h})


def _lstm(now: Now[T]) -> Step[T]:
    h, c = now.state
    i, f, g, o = (u.gathered(h, matrix) for u, matrix in zip(now.u, now.matrices, strict=True))
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * c + i * g
    h = o * c.tanh()
    return Step(h, (h, c), {"i": i, "f": f, "g": g, "o": o})


def _gru(now: Now[T]) -> Step[T]:
    h = now.state[0]
    r, z = (now.u[k].gathered(h, now.matrices[k]).sigmoid() for k in range(2))
    if now.cell.reset == "before":
        n = now.u[2].gathered(r * h, now.matrices[2]).tanh()
    else:
        n = (now.u[2] + r * h.through(now.matrices[2])).tanh()
    h = (now.one - z) * n + z * h
    return Step(h, (h,), {"r": r, "z": z, "n": n})


def _ligru(now: Now[T]) -> Step[T]:
    h = now.state[0]
    z = now.u[0].gathered(h, now.matrices[0]).sigmoid()
    n = now.u[1].gathered(h, now.matrices[1]).relu()
    h = z * h + (now.one - z) * n
    return Step(h, (h,), {"z": z, "h": n})


def _qrnn(now: Now[T]) -> Step[T]:
    z, f, o = now.u[0].tanh(), now.u[1].sigmoid(), now.u[2].sigmoid()
    c = f * z + (now.one - f) * now.state[0]
    return Step(o * c, (c,), {"z": z, "f": f, "o": o})


def _sru(now: Now[T]) -> Step[T]:
    c = now.state[0]
    f = now.u[1].gathered(c, now.matrices[0]).sigmoid()
    r = now.u[2].gathered(c, now.matrices[1]).sigmoid()
    c = f * c + (now.one - f) * now.u[0]
    return Step(r * c + (now.one - r) * now.highway, (c,), {"f": f, "r": r})
