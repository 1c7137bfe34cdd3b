"""What the machine allows at most, for the share of the roofline that a figure reaches."""

from __future__ import annotations

from pathc.driver import Compiled
from pathc.ir.cost import Cost

BATCH_1_READS_ONCE = 1
"""At this batch every weight is used once, so the limit is how fast weights stream."""


def limit_of(compiled: Compiled, batch: int, spent: Cost) -> float | None:
    """GFLOP/s the machine can reach on this net at this batch, measured now and kept; None for other targets.

    At batch 1 the smaller of the FMA peak and two operations for every weight streamed from the cache level that
    holds them; at larger batches the FMA peak of the threads that take part.
    """
    if compiled.target.backend.name != "llvm":
        return None
    from pathc.backends.llvm.call import PARALLEL_WORK
    from pathc.backends.llvm.machine import machine
    from pathc.backends.llvm.roofline import measure

    options = dict(compiled.target.options)
    width = 2 if str(options.pop("weights", "f32")) == "bf16" else 4
    chosen = machine(options)
    roof = measure(chosen)
    if batch == BATCH_1_READS_ONCE:
        return roof.batch1_gflops(spent.weights * width, width)
    threads = chosen.threads or chosen.cores
    return roof.batch_gflops(threads if spent.macs * batch >= PARALLEL_WORK else 1)
