"""The plan of a net as text, one operation a line: what `--emit plan` prints."""

from __future__ import annotations

from pathc.backends.llvm.netplan import Load, Move, NetPlan, Op, Post, Run, Save
from pathc.backends.llvm.plan import Junction, Layout, Step


def show_plan(plan: NetPlan) -> str:
    """The plan, buffers first, then operations in order; ends in a newline."""
    unit = "rows" if plan.family == "row" else "columns"
    lines = [f"plan {plan.name} : {plan.family} kernels, {plan.samples} {unit} at a time {{"]
    lines.extend(f"  buffer {b.name:<12} = {b.size} floats a sample at {b.offset}" for b in plan.buffers)
    lines.extend(f"  {_op(op)}" for op in plan.ops)
    lines.append(f"}}  # {plan.scratch * 4} bytes of scratch, {plan.work} multiply-adds a sample")
    return "\n".join(lines) + "\n"


def _op(op: Op) -> str:
    match op:
        case Load():
            return f"load   {op.dst} <- x[{op.first}:{op.first + op.real}]{_after(op.activation)}{_order(op.layout)}"
        case Run():
            return f"run    {op.dst} <- {op.src} : {_step(op.step)}"
        case Move():
            return f"move   {op.dst} <- {op.src}{_order(op.target)}"
        case Post():
            return f"apply  {op.dst} : {op.call}"
        case Save():
            return f"save   y[{op.first}:{op.first + op.real}] <- {op.src}{_order(op.layout)}"


def _step(step: Step) -> str:
    text = f"{step.form} {_junction(step.junction)} from {step.init}{_after(step.activation)}"
    if step.fused:
        text += f" then {_junction(step.fused)} from {step.fused_init}{_after(step.fused_activation)}"
    tiles = "".join(f" {name} {value}" for name, value in step.tile)
    return f"{text} weights {step.weight_type}{tiles}"


def _junction(junction: Junction) -> str:
    return f"${junction.line}.{junction.number} {junction.n_src}->{junction.n_dst} x{junction.count}"


def _after(activation: object) -> str:
    return f" | {activation}" if activation else ""


def _order(layout: Layout) -> str:
    return f" order xor({', '.join(f'{c:x}' for c in layout.columns)})" if layout.columns else ""
