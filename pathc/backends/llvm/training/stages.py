"""Activations of a tile and their derivatives: what has to be kept, and the passes that apply both.

The conventions at kinks are those of `pathc.ir.interp.activations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column import post
from pathc.backends.llvm.column.common import byte_offset
from pathc.backends.llvm.emit import F32, I64, Function, constant, vector
from pathc.backends.llvm.training.frame import Frame, every_vector
from pathc.ir.catalogue import options_of
from pathc.ir.extents import POOLS
from pathc.ir.types import Call

Kept = Literal["value", "argument"]
WHOLE = frozenset({"softmax", "kwinners"})
"""Activations of a whole station."""
_FROM_ARGUMENT = frozenset({"abs", "kwinners", "batchnorm", "channelshuffle", *POOLS})
"""Stages whose derivative asks for the argument, or for neither."""


def kept(stage: Call) -> Kept:
    """What the derivative is computed from; a value may take its argument's place in memory."""
    if stage.name in _FROM_ARGUMENT or (stage.name == "leaky" and number(stage, "slope") < 0.0):
        return "argument"
    return "value"


def looks_back(stage: Call) -> bool:
    """Whether the derivative of a stage looks at its value, which no other stage may then overwrite."""
    return kept(stage) == "value" or stage.name == "kwinners"


def elementwise(stage: Call) -> bool:
    """Whether a stage makes every value of one value."""
    return stage.name not in WHOLE and stage.name not in ("batchnorm", "channelshuffle", *POOLS)


def in_place(stage: Call) -> bool:
    """Whether a stage is elementwise and may write where it reads."""
    return elementwise(stage) and kept(stage) == "value"


def in_place_behind(stages: Sequence[Call], number: int) -> Call | None:
    """The stage behind stage `number` if that is elementwise and may write where it reads."""
    follows = stages[number + 1] if number + 1 < len(stages) else None
    return follows if follows is not None and in_place(follows) else None


def number(stage: Call, option: str) -> float:
    """A numeric option of a stage."""
    value = options_of(stage)[option]
    if not isinstance(value, int | float):
        raise ValueError(f"{stage.name} takes a number as its {option}")
    return float(value)


def slope(f: Function, frame: Frame, stage: Call, gradient: str, stored: str) -> str:
    """The gradient at the argument of an elementwise stage, from that at its value and what was kept."""
    lanes, kind = frame.lanes, frame.kind
    zero, one = constant(0.0, lanes), constant(1.0, lanes)
    name = stage.name
    if name in ("relu", "leaky", "abs"):
        factor = {"relu": 0.0, "abs": -1.0}.get(name)
        factor = number(stage, "slope") if factor is None else factor
        below = f.op("fmul", kind, gradient, constant(factor, lanes))
        if name == "abs":
            below = _select(f, frame, "fcmp oeq", stored, zero, f.op("fmul", kind, gradient, zero), below)
        return _select(f, frame, "fcmp ogt", stored, zero, gradient, below)
    if name == "hardtanh":
        low, high = (constant(number(stage, option), lanes) for option in ("low", "high"))
        outside = f.op("fmul", kind, gradient, zero)
        inside = _select(f, frame, "fcmp olt", stored, high, gradient, outside)
        return _select(f, frame, "fcmp ogt", stored, low, inside, outside)
    if name == "tanh":
        square = f.op("fmul", kind, stored, stored)
        return f.op("fmul", kind, gradient, f.op("fsub", kind, one, square))
    if name == "sigmoid":
        other = f.op("fsub", kind, one, stored)
        return f.op("fmul", kind, f.op("fmul", kind, gradient, stored), other)
    raise ValueError(f"{name} is no elementwise activation")


def write_stage(frame: Frame, name: str, stage: Call, units: int, *, in_place: bool) -> Function:
    """`void name(ptr argument, ptr value)`: a stage on all rows; the two are one buffer if `in_place`."""
    f = Function(name, (("ptr", "argument"), ("ptr", "value")))
    if stage.name not in WHOLE:
        with every_vector(f, frame, units) as at:
            value = frame.load(f, "%argument", at)
            frame.store(f, vecmath.apply(f, frame.lanes, value, stage, frame.machine), "%value", at)
        return f
    if not in_place:
        with every_vector(f, frame, units) as at:
            frame.store(f, frame.load(f, "%argument", at), "%value", at)
    f.call("void", f"{name}.post", [("ptr", "%value")], declare=False)
    return f


def helpers(frame: Frame, name: str, stage: Call, real: int) -> list[Function]:
    """Functions that `write_stage` calls."""
    return [post.emit_post(f"{name}.post", frame.machine, frame.columns, real, stage)] if stage.name in WHOLE else []


def write_slope(frame: Frame, name: str, stage: Call, units: int, real: int) -> Function:
    """`void name(ptr kept, ptr value, ptr delta)`: `delta` goes from a stage's value to its argument."""
    f = Function(name, (("ptr", "kept"), ("ptr", "value"), ("ptr", "delta")))
    if stage.name == "softmax":
        _softmax_slope(f, frame, real)
    elif stage.name == "kwinners":
        _winners_slope(f, frame, real, int(number(stage, "k")))
    else:
        with every_vector(f, frame, units) as at:
            stored, gradient = frame.load(f, "%kept", at), frame.load(f, "%delta", at)
            frame.store(f, slope(f, frame, stage, gradient, stored), "%delta", at)
    return f


def _softmax_slope(f: Function, frame: Frame, real: int) -> None:
    """y (g - sum of g y)."""
    with frame.groups(f, 1) as column:
        with f.loop(real, [(frame.kind, frame.zero())]) as loop:
            at = _at(f, frame, loop.index, column)
            value, gradient = frame.load(f, "%value", at), frame.load(f, "%delta", at)
            loop.following = [f.fma(frame.lanes, value, gradient, loop.carried[0])]
        (total,) = loop.results
        with f.loop(real) as again:
            at = _at(f, frame, again.index, column)
            value, gradient = frame.load(f, "%value", at), frame.load(f, "%delta", at)
            moved = f.op("fmul", frame.kind, value, f.op("fsub", frame.kind, gradient, total))
            frame.store(f, moved, "%delta", at)


def _winners_slope(f: Function, frame: Frame, real: int, k: int) -> None:
    """The gradient at winners alone: values that are not zero, then zeros, lower units first, up to k in all."""
    whole, mask = vector(frame.lanes, "i32"), vector(frame.lanes, "i1")
    with frame.groups(f, 1) as column:
        with f.loop(real, [(whole, f"splat (i32 {k})")]) as loop:
            value = frame.load(f, "%value", _at(f, frame, loop.index, column))
            won = f.assign(f"fcmp une {frame.kind} {value}, {frame.zero()}")
            one = f.assign(f"zext {mask} {won} to {whole}")
            loop.following = [f.op("sub", whole, loop.carried[0], one)]
        with f.loop(real, [(whole, loop.results[0])]) as again:
            at = _at(f, frame, again.index, column)
            stored, value, gradient = (frame.load(f, p, at) for p in ("%kept", "%value", "%delta"))
            won = f.assign(f"fcmp une {frame.kind} {value}, {frame.zero()}")
            empty = f.assign(f"fcmp oeq {frame.kind} {stored}, {frame.zero()}")
            room = f.assign(f"icmp sgt {whole} {again.carried[0]}, zeroinitializer")
            tied = f.op("and", mask, empty, room)
            passes = f.op("or", mask, won, tied)
            chosen = f.assign(f"select {mask} {passes}, {frame.kind} {gradient}, {frame.kind} {frame.zero()}")
            frame.store(f, chosen, "%delta", at)
            used = f.assign(f"zext {mask} {tied} to {whole}")
            again.following = [f.op("sub", whole, again.carried[0], used)]


def write_fill(frame: Frame, name: str, units: int, first: int = 0) -> Function:
    """`void name(ptr buffer)`: zeros in rows `first` .. `units` - 1."""
    f = Function(name, (("ptr", "buffer"),))
    with every_vector(f, frame, units, first) as at:
        frame.store(f, frame.zero(), "%buffer", at)
    return f


def write_bias(frame: Frame, name: str, units: int, positions: int, *, add: bool) -> Function:
    """`void name(ptr buffer, ptr bias)`: the bias of every `positions` rows, alone or added to what is there."""
    f = Function(name, (("ptr", "buffer"), ("ptr", "bias")))
    with f.loop(units // positions) as channels:
        bias = f.broadcast(frame.lanes, f.load(F32, f.offset("%bias", channels.index)))
        plane = byte_offset(f, "%buffer", f.op("mul", I64, channels.index, str(positions * frame.stride)))
        with every_vector(f, frame, positions) as at:
            value = f.op("fadd", frame.kind, frame.load(f, plane, at), bias) if add else bias
            frame.store(f, value, plane, at)
    return f


def write_skip(frame: Frame, name: str, units: int, scale: float, *, add: bool) -> Function:
    """`void name(ptr from, ptr to)`: rows times a scale, alone or added to what is there."""
    f = Function(name, (("ptr", "from"), ("ptr", "to")))
    with every_vector(f, frame, units) as at:
        before = frame.load(f, "%to", at) if add else frame.zero()
        value = frame.load(f, "%from", at)
        frame.store(f, f.fma(frame.lanes, value, constant(scale, frame.lanes), before), "%to", at)
    return f


def write_mask(frame: Frame, name: str, units: int) -> Function:
    """`void name(ptr buffer, i64 count)`: zeros in the columns from `count` on."""
    f = Function(name, (("ptr", "buffer"), (I64, "count")))
    with frame.groups(f, 1) as column:
        inside = columns_inside(f, frame, column, "%count")
        with f.loop(units) as loop:
            at = _at(f, frame, loop.index, column)
            value = frame.load(f, "%buffer", at)
            mask = vector(frame.lanes, "i1")
            chosen = f.assign(f"select {mask} {inside}, {frame.kind} {value}, {frame.kind} {frame.zero()}")
            frame.store(f, chosen, "%buffer", at)
    return f


def columns_inside(f: Function, frame: Frame, column: str | int, count: str) -> str:
    """Which lanes of the group at byte offset `column` are columns below `count`."""
    whole = vector(frame.lanes, "i32")
    lanes = "<" + ", ".join(f"i32 {k}" for k in range(frame.lanes)) + ">"
    first = f.assign(f"trunc i64 {f.op('lshr', I64, str(column), '2')} to i32")
    numbers = f.op("add", whole, f.broadcast(frame.lanes, first, "i32"), lanes)
    limit = f.broadcast(frame.lanes, f.assign(f"trunc i64 {count} to i32"), "i32")
    return f.assign(f"icmp slt {whole} {numbers}, {limit}")


def _at(f: Function, frame: Frame, unit: str, column: str | int) -> str:
    start = f.op("shl", I64, unit, str(frame.shift))
    return f.op("add", I64, start, str(column), "nuw nsw") if column != 0 else start


def _select(f: Function, frame: Frame, comparison: str, a: str, b: str, yes: str, no: str) -> str:
    condition = f.assign(f"{comparison} {frame.kind} {a}, {b}")
    return f.assign(f"select {vector(frame.lanes, 'i1')} {condition}, {frame.kind} {yes}, {frame.kind} {no}")
