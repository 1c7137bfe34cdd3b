"""One step of a cell in TVMScript: from the sums of its gates to output and state, as the interpreter has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pathc.backends.tvm.expressions import activated
from pathc.ir.cells import Cell
from pathc.ir.types import Call


@dataclass(frozen=True)
class Step:
    """Statements of a step, what comes out, and the vectors handed on: expressions over what the statements wrote."""

    lines: tuple[str, ...]
    output: str
    state: tuple[str, ...]


def step(cell: Cell, u: Sequence[str], state: Sequence[str], through: str = "", highway: str = "") -> Step:
    """A step over the sums `u` of the gates, places that are written to, and the values of `state`.

    `through` is what the matrix of a gru's candidate makes of the state, where the reset gate acts behind it.
    """
    match cell.name:
        case "lstm":
            i, f, g, o = u
            c = f"({f} * {state[1]} + {i} * {g})"
            lines = *_over(_sigmoid, i, f, o), *_over(_tanh, g), f"{g} = {c}", f"{i} = {o} * {_tanh(g)}"
            return Step(lines, i, (i, g))
        case "gru":
            r, z, n = u
            lines = [*_over(_sigmoid, r, z)] if through else [*_over(_sigmoid, z)]
            lines += [f"{n} = {_tanh(f'({n} + {r} * {through})' if through else n)}", f"{n} = {_mixed(z, state[0], n)}"]
            return Step(tuple(lines), n, (n,))
        case "ligru":
            z, n = u
            lines = *_over(_sigmoid, z), f"{n} = {activated(Call('relu'), n)}", f"{n} = {_mixed(z, state[0], n)}"
            return Step(lines, n, (n,))
        case "qrnn":
            z, f, o = u
            lines = *_over(_tanh, z), *_over(_sigmoid, f, o), f"{z} = {_mixed(f, z, state[0])}"
            return Step(lines, f"({o} * {z})", (z,))
        case "sru":
            x, f, r = u
            lines = *_over(_sigmoid, f, r), f"{x} = {_mixed(f, state[0], x)}"
            return Step(lines, _mixed(r, x, highway) if highway else f"({r} * {x})", (x,))
        case _:
            name = "identity" if cell.name == "linear" else cell.activation
            value = activated(None if name == "identity" else Call(name), u[0])
            return Step((f"{u[0]} = {value}",), u[0], (u[0],))


def reset(r: str, state: str) -> str:
    """What the matrix of a gru's candidate reads, where the reset gate acts in front of it."""
    return f"{_sigmoid(r)} * {state}"


def _over(function: Callable[[str], str], *places: str) -> tuple[str, ...]:
    return tuple(f"{place} = {function(place)}" for place in places)


def _sigmoid(value: str) -> str:
    return activated(Call("sigmoid"), value)


def _tanh(value: str) -> str:
    return activated(Call("tanh"), value)


def _mixed(part: str, a: str, b: str) -> str:
    """a and b in the shares `part` and the rest."""
    return f"({part} * {a} + (T.float32(1) - {part}) * {b})"
