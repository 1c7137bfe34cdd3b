"""The schedule of a time loop: its blocks become those of a GPU, its loops over threads threads."""

from __future__ import annotations

from pathc.backends.tvm.facade import Schedule
from pathc.backends.tvm.recurrent.plan import CellPlan

_THREADS = 256


def schedule_cell(steps: Schedule, plan: CellPlan, gpu: bool) -> None:
    """Write the schedule of a cell; on the processor loops stay as they are."""
    if not gpu:
        return
    steps.work_on(plan.name)
    for loop, axis in zip(steps.loops(steps.block(f"{plan.name}_loop")), "xyz", strict=True):
        steps.bind(loop, f"blockIdx.{axis}")
    for nest in _nests(plan):
        steps.bind(steps.loops(steps.block(f"{plan.name}_{nest}"))[-1], "threadIdx.x")
    if plan.added:
        steps.work_on(f"{plan.name}_add")
        row, unit = steps.loops(steps.block(f"{plan.name}_add_store"))
        block, thread = steps.split(unit, [None, min(_THREADS, plan.units)])
        for loop, axis in ((row, "blockIdx.x"), (block, "blockIdx.y"), (thread, "threadIdx.x")):
            steps.bind(loop, axis)


def _nests(plan: CellPlan) -> list[str]:
    """The loops over threads, in order."""
    if plan.form == "own":
        return ["step"]
    return ["start", *(["reset"] if plan.twice else []), "step", *(["end"] if plan.state else [])]
