"""A whole net as LLVM IR: its kernels, and the function that runs them over a batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import ends
from pathc.backends.llvm.column import post as column_post
from pathc.backends.llvm.column import transpose, units_first
from pathc.backends.llvm.column.common import when_positive
from pathc.backends.llvm.column.stretch import emit_stretch, stretch_of
from pathc.backends.llvm.emit import I64, Function, module
from pathc.backends.llvm.forms import form
from pathc.backends.llvm.general import post as row_post
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.netplan import ALIGNMENT, Load, Move, NetPlan, Op, Post, Run, Save
from pathc.backends.llvm.plan import Layout
from pathc.backends.llvm.row.relayout import relayout

SIGNATURE = (
    ("ptr", "x"),
    ("ptr", "y"),
    ("ptr", "params"),
    ("ptr", "scratch"),
    (I64, "batch"),
    (I64, "x_stride"),
    (I64, "y_stride"),
)
"""What a net exports; see call.py."""
_PASS = (("ptr", "x"), ("ptr", "y"), ("ptr", "params"), ("ptr", "scratch"))
_STRIDES = ((I64, "x_stride"), (I64, "y_stride"))


def emit_net(plan: NetPlan, machine: Machine, name: str, sizes: Sequence[int] = ()) -> str:
    """The IR of a net that exports `name`.

    `sizes` are the numbers of samples kernels are made for, falling: a batch is taken in pieces of the first, what
    is left in pieces of the next. Rows must end with 1; the last tile of columns may be partly filled. The default
    is all that serve any batch well. The first size of a plan with a `Stretch` is the most it takes at a time.
    """
    return module(net_functions(plan, machine, name, sizes), machine.triple)


def net_functions(
    plan: NetPlan, machine: Machine, name: str, sizes: Sequence[int] = (), *, internal: bool = False
) -> list[Function]:
    """The functions of a net, the last of which is `name`; it is exported unless `internal`."""
    functions: list[Function] = []
    sizes = sizes or sizes_of(plan, machine, 0)
    for samples in sizes:
        functions.extend(_samples(plan, machine, samples))
    return [*functions, _entry(plan, machine, name, sizes, internal)]


def sizes_of(plan: NetPlan, machine: Machine, batch: int) -> tuple[int, ...]:
    """The kernels a batch needs: one size where it divides the batch, a small one for the rest; 0 is any batch."""
    small = 1 if plan.family == "row" else machine.width
    if stretch := stretch_of(plan, machine):
        whole = batch > 0 and batch % stretch.unit == 0
        return (stretch.most,) if whole else (stretch.most, small)
    if batch and batch < plan.samples:
        return (small,)
    whole = batch > 0 and batch % plan.samples == 0
    return (plan.samples,) if whole or plan.samples == small else (plan.samples, small)


def pack(plan: NetPlan, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Parameters of a net: a table with the place of every part, then weights and biases, kernel by kernel."""
    parts: list[NDArray[np.uint8]] = []
    for run in plan.runs:
        parts.append(form(run.step.form).pack(run.step, machine, weights))
        parts.append(_bias(run, machine, weights))
    table = np.zeros(len(parts), np.int64)
    at = _aligned(table.nbytes)
    for k, part in enumerate(parts):
        table[k] = at
        at += _aligned(part.nbytes)
    packed = aligned(at)
    packed[: table.nbytes] = table.view(np.uint8)
    for place, part in zip(table, parts, strict=True):
        packed[place : place + part.nbytes] = part
    return packed


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _bias(run: Run, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
    """The bias of a step in the order of its destination; of a fused pair, the middle station's first."""
    step = run.step
    values: list[NDArray[np.float32]] = []
    if step.fused:
        middle = Layout(-(-step.junction.n_dst // machine.width) * machine.width)
        values.append(_ordered(weights, step.junction.dst, middle, step.init == "bias"))
        values.append(_ordered(weights, step.fused.dst, step.dst_layout, step.fused_init == "bias"))
    elif step.init == "bias":
        values.append(_ordered(weights, step.junction.dst, step.dst_layout, True))
    return np.concatenate(values).view(np.uint8) if values else np.zeros(0, np.uint8)


def _ordered(
    weights: Mapping[str, NDArray[np.float32]], station: str, layout: Layout, present: bool
) -> NDArray[np.float32]:
    ordered = np.zeros(layout.size, np.float32)
    if present:
        bias = weights[f"{station}.bias"].astype(np.float32)
        ordered[layout.positions(np.arange(len(bias)))] = bias
    return ordered


def _entry(plan: NetPlan, machine: Machine, name: str, sizes: Sequence[int], internal: bool) -> Function:
    """The function of a whole batch: runs of `samples` samples, or stretches up to as many, then what is left."""
    f = Function(name, SIGNATURE, internal=internal)
    arguments = [("ptr", "%params"), ("ptr", "%scratch")]
    strides = [(kind, f"%{stride}") for kind, stride in _STRIDES]
    stretch = stretch_of(plan, machine)
    done = "0"
    for samples in sizes:
        last = samples == sizes[-1]
        end = "%batch"
        count = f.op("sub", I64, "%batch", done)
        if stretch and samples == stretch.most:
            end = f.op("and", I64, "%batch", str(-stretch.unit))
            count = f.op("add", I64, end, str(samples - 1))
        elif last and plan.family == "column":
            count = f.op("add", I64, count, str(samples - 1))
        whole = f.op("udiv", I64, count, str(samples))
        with ends.repeated(f, whole) as index:
            first = f.op("add", I64, done, f.op("mul", I64, index, str(samples)))
            x, y = (
                f.offset(f"%{end}", first if order == "units" else f.op("mul", I64, first, f"%{end}_stride"))
                for end, order in zip("xy", plan.orders, strict=True)
            )
            given = [("ptr", x), ("ptr", y), *arguments, *strides]
            if plan.family == "column":
                left = f.op("sub", I64, end, first)
                given.append((I64, ends.at_most(f, left, samples)))
            f.call("void", _body(plan, samples), given, declare=False)
        done = end if end != "%batch" else f.op("add", I64, done, f.op("mul", I64, whole, str(samples)))
    return f


def _body(plan: NetPlan, samples: int) -> str:
    return f"{plan.family}{samples}"


def _samples(plan: NetPlan, machine: Machine, samples: int) -> list[Function]:
    """The net for `samples` samples at a time: one function that calls the kernels in order, and the kernels."""
    if plan.family == "column":
        return _columns(plan, machine, samples)
    f = Function(_body(plan, samples), (*_PASS, *_STRIDES))
    kernels: list[Function] = []
    buffers = {b.name: f.offset("%scratch", b.offset) for b in plan.buffers}
    parts = _parts(f)
    for number, op in enumerate(plan.ops):
        name = f"{_body(plan, samples)}.{number}"
        if isinstance(op, Run):
            kernels.extend(form(op.step.form).emit(op.step, name, machine, samples))
            given = [("ptr", buffers[op.src]), ("ptr", buffers[op.dst]), *next(parts)]
            f.call("void", name, given, declare=False)
        else:
            kernels.extend(_row_end(f, op, name, machine, samples, buffers, plan))
    return [*kernels, f]


def _columns(plan: NetPlan, machine: Machine, samples: int) -> list[Function]:
    """The net for a tile of columns: where a buffer stays in a user's array, kernels are given the array itself.

    A tile one vector wide may be filled in part; then it goes through the buffer's place in scratch memory.
    """
    f = Function(_body(plan, samples), (*_PASS, *_STRIDES, (I64, "valid")))
    kernels: list[Function] = []
    buffers = {b.name: f.offset("%scratch", b.offset) for b in plan.buffers}
    kept = {_buffer_of(op): op for op in plan.ops if isinstance(op, Load | Save) and op.layout.array}
    places = {name: _place(f, op, buffers[name], machine, samples) for name, op in kept.items()}
    parts = _parts(f)
    stretch = stretch_of(plan, machine)
    for number, op in enumerate(plan.ops):
        name = f"{_body(plan, samples)}.{number}"
        if isinstance(op, Run):
            length: list[tuple[str, str]] = []
            if stretch and samples == stretch.most:
                kernels.append(emit_stretch(op.step, name, machine, stretch))
                length = [(I64, f.op("shl", I64, "%valid", "2"))]
            else:
                kernels.extend(form(op.step.form).emit(op.step, name, machine, samples))
            ends = [places.get(end, (buffers[end], "")) for end in (op.src, op.dst)]
            pitches = [(I64, pitch) for _, pitch in ends if pitch]
            given = [*(("ptr", at) for at, _ in ends), *next(parts), *pitches, *length]
            f.call("void", name, given, declare=False)
        elif not (isinstance(op, Load | Save) and op.layout.array):
            kernels.append(_column_end(f, op, name, machine, samples, buffers))
        elif samples == machine.width:
            with when_positive(f, _lacking(f, samples)):
                kernels.append(_column_end(f, op, name, machine, samples, buffers))
    return [*kernels, f]


def _place(f: Function, op: Load | Save, buffer: str, machine: Machine, samples: int) -> tuple[str, str]:
    """Address and pitch of a buffer that stays in a user's array, at most until the last tile."""
    array = op.layout.array
    pitch = f.op("shl", I64, f"%{array}_stride", "2")
    at = f.offset(f"%{array}", f.op("mul", I64, pitch, str(op.first)), "i8")
    if samples > machine.width:
        return at, pitch
    partial = f.assign(f"icmp ne i64 {_lacking(f, samples)}, 0")
    return (
        f.assign(f"select i1 {partial}, ptr {buffer}, ptr {at}"),
        f.assign(f"select i1 {partial}, i64 {4 * samples}, i64 {pitch}"),
    )


def _lacking(f: Function, samples: int) -> str:
    """How many samples the batch is short of for a whole tile."""
    return f.op("sub", I64, str(samples), "%valid")


def _buffer_of(op: Load | Save) -> str:
    return op.dst if isinstance(op, Load) else op.src


def _parts(f: Function) -> Iterator[list[tuple[str, str]]]:
    """The arguments of one kernel after another: its weights and its bias."""
    for number in itertools.count(0, 2):
        yield [("ptr", _part(f, number)), ("ptr", _part(f, number + 1))]


def _part(f: Function, number: int) -> str:
    """Address of a part of the parameters."""
    place = f.load(I64, f.offset("%params", number, I64), 8)
    return f.offset("%params", place, "i8")


def _column_end(f: Function, op: Op, name: str, machine: Machine, columns: int, buffers: Mapping[str, str]) -> Function:
    """The call of an operation without weights on a tile of columns; gives its kernel."""
    match op:
        case Load() | Save():
            array = "x" if isinstance(op, Load) else "y"
            stride = f"%{array}_stride"
            lines = f.op("mul", I64, stride, str(op.first)) if op.order == "units" else op.first
            given = [("ptr", f.offset(f"%{array}", lines)), ("ptr", buffers[_buffer_of(op)])]
            given += [(I64, stride), (I64, "%valid")]
            module = units_first if op.order == "units" else transpose
            if isinstance(op, Load):
                kernel = module.emit_load(name, machine, columns, op.units, op.real, op.activation)
            else:
                kernel = module.emit_save(name, machine, columns, op.real)
        case Post():
            given = [("ptr", buffers[op.dst])]
            kernel = column_post.emit_post(name, machine, columns, op.units, op.call)
        case Move() | Run():
            raise ValueError("columns know one layout")
    f.call("void", name, given, declare=False)
    return kernel


def _row_end(
    f: Function, op: Op, name: str, machine: Machine, rows: int, buffers: dict[str, str], plan: NetPlan
) -> list[Function]:
    """The call of an operation without weights on some rows, and its kernels."""
    match op:
        case Load(layout=layout) if not layout.columns:
            source = f.offset("%x", op.first)
            if rows == 1 and layout.size == op.real and op.activation is None and _read_only(plan, op):
                buffers[op.dst] = source
                return []
            kernel = ends.copy_in(name, machine, rows, op.real, layout.size, op.activation)
            given = [("ptr", source), ("ptr", buffers[op.dst]), (I64, "%x_stride")]
        case Load(layout=layout):
            return _relaid(f, name, machine, rows, (Layout(layout.size), layout), op, buffers)
        case Save(layout=layout) if not layout.columns:
            kernel = ends.copy_out(name, machine, rows, op.real, layout.size)
            given = [("ptr", buffers[op.src]), ("ptr", f.offset("%y", op.first)), (I64, "%y_stride")]
        case Save(layout=layout):
            return _relaid(f, name, machine, rows, (layout, Layout(layout.size)), op, buffers)
        case Move():
            kernel = relayout(op.source, op.target, name, machine, rows)
            given = [("ptr", buffers[op.src]), ("ptr", buffers[op.dst])]
        case Post():
            size = plan.buffer(op.dst).size
            kernel = row_post.emit_post(name, machine, op.units, op.call)
            for row in range(rows):
                f.call("void", name, [("ptr", f.offset(buffers[op.dst], row * size))], declare=False)
            return [kernel]
        case Run():
            raise ValueError("kernels with weights are written elsewhere")
    f.call("void", name, given, declare=False)
    return [kernel]


def _read_only(plan: NetPlan, load: Load) -> bool:
    """Whether nothing else is written to the buffer of an input."""
    return not any(op is not load and not isinstance(op, Save) and op.dst == load.dst for op in plan.ops)


def _relaid(
    f: Function,
    name: str,
    machine: Machine,
    rows: int,
    layouts: tuple[Layout, Layout],
    op: Load | Save,
    buffers: Mapping[str, str],
) -> list[Function]:
    """Permute straight from or to the user's array, sample by sample."""
    load = isinstance(op, Load)
    for row in range(rows):
        stride = "%x_stride" if load else "%y_stride"
        user = f.offset("%x" if load else "%y", op.first)
        user = f.offset(user, f.op("mul", I64, stride, str(row))) if row else user
        own = f.offset(buffers[op.dst if load else op.src], row * op.layout.size)
        given = (user, own) if load else (own, user)
        f.call("void", name, [("ptr", pointer) for pointer in given], declare=False)
    return [relayout(*layouts, name, machine, 1, op.activation if load else None)]
