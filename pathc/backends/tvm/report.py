"""What kernels take of a GPU: registers, spills, shared memory, occupancy, operations for a byte of main memory."""

from __future__ import annotations

from pathc.backends.tvm.filters.plan import Filters, operations_a_byte
from pathc.backends.tvm.nvrtc import Binary, Resources
from pathc.backends.tvm.nvrtc import report as resources
from pathc.backends.tvm.plan import Blocks, NetPlan, Op, Outer, Rows
from pathc.backends.tvm.program import Launch, Program
from pathc.backends.tvm.recurrent.plan import CellPlan, Feed, SequencePlan

_REGISTERS, _THREADS, _BLOCKS, _WARP = 65536, 2048, 32, 32
"""What a multiprocessor of sm_80 and sm_90 has (CUDA C++ Programming Guide, compute capabilities)."""
_SHARED = {"sm_80": 164 * 1024, "sm_90": 228 * 1024}
_SHARED_ELSEWHERE = 100 * 1024
_RESERVED = 1024
"""Bytes of shared memory that the system takes of every block of threads."""
_GRANULE = 256
"""Registers are given to warps in so many at a time."""


def report(program: Program, plan: NetPlan | SequencePlan, binary: Binary) -> str:
    """Every kernel with what it takes, and every junction and cell with its operations for a byte of main memory."""
    lines = [resources(binary).rstrip("\n"), launch_lines(program, binary).rstrip("\n")]
    for piece in (plan,) if isinstance(plan, NetPlan) else plan.pieces:
        if isinstance(piece, CellPlan):
            lines.append(f"  {piece.name:14} {cell_intensity(piece):.2f} operations a byte")
        else:
            lines += _junctions(piece.plan if isinstance(piece, Feed) else piece)
    return "\n".join(lines) + "\n"


def launch_lines(program: Program, binary: Binary) -> str:
    """Every launch with its grid, threads, shared memory and occupancy."""
    used = {one.kernel: one for one in binary.resources}
    return "".join(f"{_launch(one, used.get(one.kernel), binary.arch)}\n" for one in program.launches)


def _junctions(plan: NetPlan) -> list[str]:
    filters = [op for op in plan.filters.ops if isinstance(op, Filters)] if plan.filters else []
    lines = [f"  {op.name:14} {operations_a_byte(op):.2f} operations a byte" for op in filters]
    if not plan.fused:
        ops = [op for op in plan.ops if _counts(op)]
        return lines + [f"  {op.name:14} {intensity(plan, op):.2f} operations a byte" for op in ops]
    inputs = plan.filters.outputs if plan.filters else plan.inputs
    if not inputs + plan.outputs:
        return lines
    macs = sum(_macs(plan, op) for op in plan.ops)
    shown = 2 * macs / (4 * plan.lanes * (inputs + plan.outputs))
    return [*lines, f"  {plan.kernel:14} {shown:.2f} operations a byte"]


def cell_intensity(plan: CellPlan) -> float:
    """Operations of matrices for every byte that a step moves; weights that stay in registers are not moved."""
    gates, moved = len(plan.cell.recurrent_gates), 4 * (plan.columns + plan.units)
    if not plan.held and plan.form != "own":
        moved += 4 * plan.cell.directions * gates * plan.edges / plan.sequences
    return 2 * plan.cell.directions * gates * plan.edges / moved


def occupancy(launch: Launch, used: Resources, arch: str) -> float:
    """Threads that can be on a multiprocessor at a time, as a share of those it has room for."""
    warps = -(-launch.threads // _WARP)
    registers = warps * (-(-used.registers * _WARP // _GRANULE) * _GRANULE)
    most = _SHARED.get(arch, _SHARED_ELSEWHERE) // (launch.shared + _RESERVED)
    resident = min(_BLOCKS, _THREADS // (warps * _WARP), _REGISTERS // max(1, registers), most)
    return resident * warps * _WARP / _THREADS


def intensity(plan: NetPlan, op: Op) -> float:
    """Operations for every byte of layers that a kernel reads and writes; weights are shared by all tiles."""
    units = {name: plan.units[name] for name in (getattr(op, key, "") for key in ("src", "dst", "gradient")) if name}
    units |= {name: plan.units[name] for name in (op.end.before,) if name}
    return 2 * _macs(plan, op) / max(1, 4 * plan.lanes * sum(units.values()))


def _counts(op: Op) -> bool:
    return isinstance(op, Blocks | Rows | Outer)


def _macs(plan: NetPlan, op: Op) -> int:
    """Multiply-adds of a tile."""
    blocks = op.of if isinstance(op, Outer) else op
    if isinstance(blocks, Blocks):
        return blocks.count * blocks.fan_in * blocks.fan_out * plan.lanes
    return op.edges * plan.lanes if isinstance(op, Rows) else 0


def _launch(launch: Launch, used: Resources | None, arch: str) -> str:
    share = f", occupancy {occupancy(launch, used, arch):.0%}" if used else ""
    grid = " x ".join(launch.grid)
    size = f"{launch.threads} threads, {launch.shared} bytes of shared memory"
    return f"  {launch.kernel:14} grid {grid}, {size}{share}"
