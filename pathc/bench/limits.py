"""What the machine allows at most, for the share of the roofline that a figure reaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pathc.driver import Compiled
from pathc.ir.cost import cost, per_edge, steps_of
from pathc.ir.facts import Distinct
from pathc.ir.generators import resolve
from pathc.ir.init import ends
from pathc.ir.passes.coalesce import Coalesce

if TYPE_CHECKING:
    from pathc.backends.llvm.machine import Machine
    from pathc.backends.llvm.roofline import Roofline

_ATTEMPTS = 3
_WIDE = 16
"""Lanes of the vectors on which dot products of bytes are measured."""


@dataclass(frozen=True)
class Work:
    """What a net does for one sample: multiply-adds, and weights to read; paths that share an edge count once.

    Of an edge into a cell there is one for each gate. In nets of sequences a sample is a step.
    """

    macs: int
    weights: int

    @staticmethod
    def of(compiled: Compiled) -> Work:
        """The work of a compiled net."""
        graph = Coalesce()(compiled.graph)
        spent = cost(graph)
        macs, weights, steps = spent.macs, spent.weights, steps_of(graph)
        for fact in graph.facts_of(Distinct):
            line = graph.line(fact.line)
            source, destination = ends(line, fact.junction, graph)
            each, every = per_edge(source, destination, steps[destination.name])
            repeated = resolve(line, graph).count - fact.edges
            macs -= repeated * every
            weights -= 0 if line.tied else repeated * each
        return Work(macs, weights)


@dataclass
class Limits:
    """Rooflines of the machines that were asked for, each the best of what was measured so far."""

    known: dict[Machine, list[Roofline]] = field(default_factory=dict["Machine", "list[Roofline]"])

    def of(self, compiled: Compiled, batch: int, work: Work, gflops: float) -> float | None:
        """GFLOP/s the machine can reach on this net at this batch; None for targets without a known limit.

        At batch 1 the smaller of the FMA peak and two operations for every weight streamed from the cache level that
        holds them; at larger batches, and where filters use a weight many times, the FMA peak of the threads that take
        part. Nets of integers and of bfloat16 are held to products of bytes and halves instead, where the machine has
        them. A figure above the limit says that the limit was measured while the machine was busy: it is then measured
        again.
        """
        if compiled.target.backend.name != "llvm":
            return None
        from pathc.backends.llvm.call import PARALLEL_WORK
        from pathc.backends.llvm.halves.executable import FASTER
        from pathc.backends.llvm.integer.executable import IntegerExecutable
        from pathc.backends.llvm.machine import machine
        from pathc.backends.llvm.roofline import measure

        options = dict(compiled.target.options)
        integers = options.pop("integers", False) is True
        for name in ("arrays", "events", "rate", "from"):
            options.pop(name, None)
        halves = str(options.pop("precision", "f32")) == "bf16"
        width = 2 if str(options.pop("weights", "f32")) == "bf16" or halves else 4
        chosen = machine(options)
        if integers and not (chosen.vnni and chosen.width == _WIDE):
            return None
        several = work.macs * batch >= PARALLEL_WORK * (4 if integers else FASTER if halves else 1) and batch > 1
        threads = min(chosen.workers, batch) if several else 1
        streamed = batch == 1 and all(len(station.shape) == 1 for station in compiled.graph.stations)

        def rate(roof: Roofline) -> float:
            if isinstance(compiled.executable, IntegerExecutable):
                size = compiled.executable.weight_bytes if streamed else 0
                return roof.integer_gops(work.weights, size, threads)
            if halves and not streamed:
                return roof.half_gflops(threads)
            return roof.batch1_gflops(work.weights * width, width) if streamed else roof.batch_gflops(threads)

        found = self.known.setdefault(chosen, [measure(chosen)])
        while max(map(rate, found)) < gflops and len(found) < _ATTEMPTS:
            measure.cache_clear()
            found.append(measure(chosen))
        return max(map(rate, found))
