"""The text of a plan: what holds for the whole, buffers, then operations in order, one a line."""

from __future__ import annotations

from collections.abc import Iterable

from pathc.backends.llvm.forms import form_cycles
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.netplan import Buffer, Load, Move, NetPlan, Op, Post, Run, Save
from pathc.backends.llvm.plan import Junction, Step
from pathc.ir.text.values import show_call
from pathc.ir.types import Call

VERSION = 1
"""Version of the text, on its first line."""


def print_plan(plan: NetPlan, machine: Machine | None = None) -> str:
    """The plan as text that `parse_plan` reads back as an equal plan, if `verify_plan` finds nothing wrong with it.

    With a machine, the cost model's cycles of every kernel stand behind it as a comment.
    """
    return print_plans([plan], machine)


def print_plans(plans: Iterable[NetPlan], machine: Machine | None = None) -> str:
    """Several plans, one of a family, as one text."""
    return f"plan {VERSION}\n" + "\n".join(_plan(plan, machine) for plan in plans)


def _plan(plan: NetPlan, machine: Machine | None) -> str:
    lines = [
        f'{plan.family} {plan.name} on "{plan.cpu}" {{',
        f"  width = {plan.width}, samples = {plan.samples}, inputs = {plan.inputs}, outputs = {plan.outputs}",
        f"  scratch = {plan.scratch}, work = {plan.work}, cycles = {plan.cycles!r}",
        *(f"  {_buffer(buffer)}" for buffer in plan.buffers),
        *(f"  {_op(op)}{_remark(op, plan, machine)}" for op in plan.ops),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _buffer(buffer: Buffer) -> str:
    columns = ", ".join(f"{column:02x}" for column in buffer.layout.columns)
    order = f" order xor({columns})" if columns else ""
    home = f" in {buffer.layout.array}" if buffer.layout.array else ""
    return f"%{buffer.name} = {buffer.size} at {buffer.offset}{order}{home}"


def _op(op: Op) -> str:
    match op:
        case Load():
            return f"load x{_columns(op)} -> %{op.dst}{_after(op.activation)}"
        case Run():
            return f"run %{op.src} -> %{op.dst} : {_step(op.step)}"
        case Move():
            return f"move %{op.src} -> %{op.dst}"
        case Post():
            return f"apply %{op.dst} | {show_call(op.call)}"
        case Save():
            return f"save %{op.src} -> y{_columns(op)}"


def _columns(op: Load | Save) -> str:
    return f"{'.T' if op.order == 'units' else ''}[{op.first}:{op.first + op.real}]"


def _step(step: Step) -> str:
    text = f"{step.form} {_junction(step.junction)} from {step.init}{_after(step.activation)}"
    if step.fused:
        text += f" then {_junction(step.fused)} from {step.fused_init}{_after(step.fused_activation)}"
    tile = ", ".join(f"{name} = {value}" for name, value in step.tile)
    return f"{text}, weights {step.weight_type}" + (f", tile({tile})" if tile else "")


def _junction(junction: Junction) -> str:
    return f"${junction.line}.{junction.number} {junction.n_src} -> {junction.n_dst} by {junction.count}"


def _after(activation: Call | None) -> str:
    return f" | {show_call(activation)}" if activation else ""


def _remark(op: Op, plan: NetPlan, machine: Machine | None) -> str:
    """What the plan does not say itself: the blocks of a junction, the cost of a kernel."""
    if not isinstance(op, Run):
        return ""
    found = [blocks.summary for blocks in op.step.junction.blocks]
    if machine is not None:
        found.append(f"{form_cycles(op.step, machine, plan.samples):.0f} cycles")
    return f"  # {'; '.join(found)}" if found else ""
