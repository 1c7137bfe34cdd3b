"""The bench: every model on every target at every batch, with peers, limits and a watch on the machine's noise."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pathc.backends import backend_names
from pathc.backends.base import Executable, Integers, Sampled
from pathc.bench.limits import Limits, Work
from pathc.bench.network import prepare
from pathc.bench.peers import Peer
from pathc.bench.timing import NOISE, Timing, calibrate, time_call
from pathc.driver import Compiled, Options, compile_model, load, read_source
from pathc.ir.cost import cost
from pathc.ir.graph import Graph
from pathc.ir.inputs import input_shape
from pathc.ir.misfits import plain_only
from pathc.ir.sequences import takes_sequences
from pathc.support.diagnostics import Diagnostic, Severity, error
from pathc.support.files import memory_limit
from pathc.support.source import Source
from pathc.targets import choose_target, parse_target

Say = Callable[[str], object]
Tell = Callable[[Iterable[Diagnostic]], object]

_PEER_TOLERANCE = 1e-3
"""Error of a peer, relative to the largest output, above which it does not compute the same net."""


@dataclass(frozen=True)
class Plan:
    """What to measure. `models` are files or texts; `seconds` is the time spent on every figure.

    Nets with recurrent cells are given sequences of `steps`.
    """

    models: tuple[str | Source, ...]
    targets: tuple[str, ...] = ("llvm",)
    batches: tuple[int, ...] = (1, 64)
    peers: tuple[Peer, ...] = ()
    weights: str | None = None
    seconds: float = 0.5
    steps: int = 128
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Row:
    """One figure: a model on a target at a batch.

    Times are seconds of one call, on sequences of `steps` where the net has recurrent cells (else 1). `gflops` counts
    two operations for an edge, sample and step, `roofline_share` is that
    rate over the machine's limit for such work (None where no limit is known), `bytes` those of weights and biases
    as float32. `peers` holds the median seconds of other libraries on the same net, None where one failed. `device` is
    what a remote device is called, empty for this machine; its `noise` is the spread of the figure.
    """

    model: str
    target: str
    batch: int
    seconds_median: float
    seconds_min: float
    spread: float
    gflops: float
    roofline_gflops: float | None
    roofline_share: float | None
    bytes: int
    compile_seconds: float
    peers: dict[str, float | None]
    noise: float
    steps: int = 1
    device: str = ""

    def as_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


@runtime_checkable
class Bindable(Protocol):
    """An executable that can be tied to its arrays, so that a call costs next to nothing."""

    def bind(self, x: NDArray[np.float32]) -> Any:
        """Something to call without arguments."""
        ...


def bench(plan: Plan, tell: Tell, say: Say) -> list[Row]:
    """Measure the whole plan; warnings about noise (W0801) and absent peers (E0815) go to `tell`, progress to `say`."""
    rows: list[Row] = []
    noise, limits = [calibrate()], Limits()
    sources = [model if isinstance(model, Source) else read_source(model) for model in plan.models]
    load(sources[0], plan.options.overrides)
    for target in plan.targets:
        _warm_up(target)
    absent = {peer.name: peer.missing() for peer in plan.peers}
    tell(_absent(name, reason) for name, reason in absent.items() if reason)
    peers = [peer for peer in plan.peers if not absent[peer.name]]
    for source in sources:
        for batch in plan.batches:
            beside: dict[str, float | None] | None = None
            for target in plan.targets:
                started = time.perf_counter()
                compiled = compile_model(source, target, plan.weights, replace(plan.options, batch=batch))
                x = inputs_for(compiled, batch, plan.options.seed, plan.steps)
                compiled.executable(x)
                ready = time.perf_counter() - started
                tell(compiled.executable.notes)
                say(f"{source.name}: {target}, batch {batch}")
                timing = time_call(caller(compiled.executable, x), plan.seconds)
                if beside is None:
                    beside = {peer.name: peer_seconds(peer, compiled, x, plan.seconds) for peer in peers}
                    tell(_alone(compiled.graph, peers))
                noise.append(calibrate())
                rows.append(row_of(compiled, x, timing, ready, beside, _noise(noise), limits))
    tell(_busy(noise))
    return rows


def _warm_up(target: str) -> None:
    """Import what a target needs, so that this does not count as compiling; blocks of a model are found later."""
    name, _ = parse_target(target)
    if name in backend_names():
        choose_target(name)


def inputs_for(compiled: Compiled, batch: int, seed: int, steps: int = 1) -> NDArray[np.float32]:
    """Random inputs in [0, 1), the same for the same seed: [batch, units], or [batch, steps, units] for nets with
    recurrent cells; E0502 if the memory does not suffice.
    """
    shape = input_shape(compiled.graph)
    if takes_sequences(compiled.graph):
        batch *= steps
    widest = max(math.prod(station.shape) for station in compiled.graph.stations)
    needed = 3 * 4 * batch * max(widest, math.prod(shape))
    if needed > memory_limit():
        text = f"a batch of {batch} needs about {needed} bytes, the memory can take {memory_limit()}"
        raise error("E0502", text, help="use a smaller --batch")
    x = np.random.default_rng(seed).random((batch, *shape), dtype=np.float32)
    return x.reshape(-1, steps, *shape) if takes_sequences(compiled.graph) else x


def caller(executable: Executable, x: NDArray[np.float32]) -> Callable[[], object]:
    """The cheapest way to call: bound to its arrays where the target offers that."""
    if isinstance(executable, Bindable):
        return executable.bind(x).call
    return lambda: executable(x)


def peer_seconds(peer: Peer, compiled: Compiled, x: NDArray[np.float32], seconds: float) -> float | None:
    """Median seconds of a peer on the same net and inputs; None where its outputs are wrong, or it has no such nets."""
    if plain_only(compiled.graph, "peers have"):
        return None
    net = prepare(compiled, x, peer)
    expected = _floats(compiled, x)
    error = np.abs(net.result() - expected).max(initial=0.0)
    if not error <= _PEER_TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0))):
        return None
    return time_call(net.run, seconds).median


def _floats(compiled: Compiled, x: NDArray[np.float32]) -> NDArray[Any]:
    """Outputs of the net in floating point, as peers compute it; what quantizes or samples is left aside."""
    executable = compiled.executable
    if isinstance(executable, Integers) or (isinstance(executable, Sampled) and executable.sampled):
        executable = compile_model(compiled.graph, "llvm{threads=1}", compiled.weights).executable
    return np.asarray(executable(x))


def row_of(
    compiled: Compiled,
    x: NDArray[np.float32],
    timing: Timing,
    ready: float,
    peers: dict[str, float | None],
    noise: float,
    limits: Limits,
) -> Row:
    """The figure of a compiled net on inputs, made ready in so many seconds."""
    batch, steps = len(x), x.shape[1] if takes_sequences(compiled.graph) else 1
    work = Work.of(compiled)
    gflops = 2 * work.macs * batch * steps / timing.median / 1e9
    limit = limits.of(compiled, batch, work, gflops) if steps == 1 and not takes_sequences(compiled.graph) else None
    return Row(
        model=compiled.graph.name,
        target=compiled.target.name,
        batch=batch,
        seconds_median=timing.median,
        seconds_min=timing.least,
        spread=timing.spread,
        gflops=gflops,
        roofline_gflops=limit,
        roofline_share=gflops / limit if limit else None,
        bytes=cost(compiled.graph).bytes,
        compile_seconds=ready,
        peers=peers,
        noise=noise,
        steps=steps,
    )


def _noise(calibrations: Sequence[Timing]) -> float:
    """How far the calibrations' times lie apart: inside each, and from one to the next."""
    medians = [c.median for c in calibrations]
    between = max(medians) / min(medians) - 1 if min(medians) > 0 else math.inf
    return max(between, *(c.spread for c in calibrations))


def _busy(calibrations: Sequence[Timing]) -> list[Diagnostic]:
    noise = _noise(calibrations)
    if noise <= NOISE:
        return []
    text = f"the machine is busy: a fixed piece of work took up to {noise:.0%} longer than at other times"
    help = "close other programs and measure again; ratios are steadier than times"
    return [Diagnostic("W0801", text, help=help, severity=Severity.WARNING)]


def _alone(graph: Graph, peers: Sequence[Peer]) -> list[Diagnostic]:
    if not peers or not plain_only(graph, "peers have"):
        return []
    text = f"peers are given flat nets without recurrent cells only, so `{graph.name}` is timed alone"
    help = "benchmarks/recurrent.py and benchmarks/filters.py have PyTorch beside"
    return [Diagnostic("W0803", text, help=help, severity=Severity.NOTE)]


def _absent(name: str, reason: str) -> Diagnostic:
    text = f"`{name}` is not installed, so its column is left out"
    return Diagnostic("E0815", text, help=reason, severity=Severity.NOTE)
