"""Functions of TIR as the text of TVMScript: signatures, blocks in their loops, and what operations of a plan take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pathc.backends.tvm.plan import Blocks, Edges, Fill, Load, NetPlan, Op, Rows, Save, Slope, Sum, Total

Loops = list[tuple[str, int | str, str]]
"""Loops with their extents, and S for a spatial one, R for one that is summed over."""
Role = Literal["input", "output", "buffer", "parameter", "gradient", "state"]


@dataclass(frozen=True)
class Argument:
    """An array that a function takes, in the order of its parameters; `key` says which one it is.

    `shape` is text: numbers, `tiles`, `batch` and `rows`.
    """

    name: str
    role: Role
    key: str
    shape: tuple[str, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Function:
    """A function of TIR: its name, text and arguments; `scalars` are integers behind them.

    `symbols` says what its integers are where it is called, if that is not their name: `rows`, `batch/4` (rounded up).
    """

    name: str
    text: str
    arguments: tuple[Argument, ...]
    scalars: tuple[str, ...] = ()
    symbols: tuple[tuple[str, str], ...] = ()

    def called(self, symbol: str) -> str:
        """What an integer is where the function is called."""
        return dict(self.symbols).get(symbol, symbol)


def module_text(found: Sequence[Function]) -> str:
    """All functions as the text of one module."""
    return "@I.ir_module\nclass Net:\n" + "\n".join(_indent(f.text, 4) for f in found)


def arguments(plan: NetPlan, op: Op) -> tuple[Argument, ...]:
    """What an operation reads and writes."""
    lanes, found = str(plan.lanes), list[Argument]()

    def held(name: str) -> Argument:
        return Argument(plan.array(name), "buffer", name, ("tiles", str(plan.units[name]), lanes))

    def parameter(letter: str, shape: tuple[int, ...], dtype: str = "float32") -> Argument:
        name = f"{op.name}_{letter}"
        return Argument(name, "parameter", name, tuple(map(str, shape)), dtype)

    if isinstance(op, Load):
        found.append(Argument(op.array, "input", op.array, ("batch", str(op.inputs))))
    elif not isinstance(op, Fill | Total):
        found.append(held(op.src))
    match op:
        case Slope():
            found += [held(op.argument), held(op.value)]
        case Edges():
            found += [parameter(letter, op.shape, "int32") for letter in "ij"]
        case Blocks():
            found.append(parameter("w", weight_shape(plan, op)))
        case Rows(form="ell"):
            shape = (op.width, op.end.units) if plan.lanes == 1 else (op.end.units, op.width)
            found += [parameter("w", shape), parameter("i", shape, "int32")]
        case Rows():
            found += [parameter("w", (op.edges,)), parameter("i", (op.edges,), "int32")]
            found.append(parameter("p", (op.end.units + 1,), "int32"))
        case _:
            pass
    if op.end.init == "bias":
        found.append(parameter("b", (op.end.units,)))
    if op.end.before:
        found.append(held(op.end.before))
    if isinstance(op, Sum):
        key = f"{op.name}_g"
        found += [held(op.gradient), Argument(key, "gradient", key, tuple(map(str, op.shape)))]
    elif isinstance(op, Save):
        found.append(Argument(op.array, "output", op.array, ("batch", str(op.outputs))))
    else:
        found.append(held(op.dst))
    return tuple({a.name: a for a in found}.values())


def weight_shape(plan: NetPlan, op: Blocks) -> tuple[int, int, int]:
    """[blocks, fan_in, fan_out]; for single samples [fan_in, blocks, fan_out], where lanes are destinations."""
    return (op.fan_in, op.count, op.fan_out) if plan.lanes == 1 else (op.count, op.fan_in, op.fan_out)


def head(name: str, taken: Sequence[Argument], scalars: Sequence[str]) -> list[str]:
    """The signature of a function, and the shapes of what it takes."""
    handles = [*(f"{a.name}_: T.handle" for a in taken), *(f"{s}: T.int32" for s in scalars)]
    lines = ["@T.prim_func(s_tir=True)", f"def {name}({', '.join(handles)}):"]
    lines.append(f'    T.func_attr({{"global_symbol": "{name}", "tirx.noalias": True}})')
    used = {part for a in taken for part in a.shape if not part.isdecimal()} - set(scalars)
    lines += [f"    {symbol} = T.int32()" for symbol in sorted(used)]
    for a in taken:
        align = 4 if a.role in ("input", "output", "state") else 64
        shape = f"({', '.join(a.shape)},)"
        lines.append(f'    {a.name} = T.match_buffer({a.name}_, {shape}, "{a.dtype}", align={align})')
    return lines


def nest(name: str, loops: Sequence[tuple[str, int | str, str]], body: Sequence[str]) -> list[str]:
    """A block in its loops; in the body the variable of loop `x` is `vx`."""
    names, kinds = [v for v, _, _ in loops], "".join(kind for _, _, kind in loops)
    heads = ", ".join(names)
    lines = [f"for {heads} in T.grid({', '.join(str(n) for _, n, _ in loops)}):"]
    lines.append(f'    with T.sblock("{name}"):')
    bound = ", ".join(f"v{v}" for v in names)
    lines.append(f'        {bound} = T.axis.remap("{kinds}", [{heads}])')
    return [*lines, *(f"        {line}" for line in body)]


def _indent(text: str, width: int) -> str:
    return "".join(f"{' ' * width}{line}\n" for line in text.splitlines())
