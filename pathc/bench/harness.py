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
from pathc.backends.base import Executable
from pathc.bench.limits import Limits, Work
from pathc.bench.network import prepare
from pathc.bench.peers import Peer
from pathc.bench.timing import NOISE, Timing, calibrate, time_call
from pathc.driver import Compiled, Options, compile_model, load, read_source
from pathc.ir.cost import cost
from pathc.ir.inputs import input_shape
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
    """What to measure. `models` are files or texts; `seconds` is the time spent on every figure."""

    models: tuple[str | Source, ...]
    targets: tuple[str, ...] = ("llvm",)
    batches: tuple[int, ...] = (1, 64)
    peers: tuple[Peer, ...] = ()
    weights: str | None = None
    seconds: float = 0.5
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Row:
    """One figure: a model on a target at a batch.

    Times are seconds of one call. `gflops` counts two operations for an edge and sample, `roofline_share` is that
    rate over the machine's limit for such work (None where no limit is known), `bytes` those of weights and biases
    as float32. `peers` holds the median seconds of other libraries on the same net, None where one failed.
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
                x = inputs_for(compiled, batch, plan.options.seed)
                compiled.executable(x)
                ready = time.perf_counter() - started
                tell(compiled.executable.notes)
                say(f"{source.name}: {target}, batch {batch}")
                timing = time_call(caller(compiled.executable, x), plan.seconds)
                if beside is None:
                    beside = {peer.name: peer_seconds(peer, compiled, x, plan.seconds) for peer in peers}
                noise.append(calibrate())
                rows.append(_row(compiled, batch, timing, ready, beside, _noise(noise), limits))
    tell(_busy(noise))
    return rows


def _warm_up(target: str) -> None:
    """Import what a target needs, so that this does not count as compiling; blocks of a model are found later."""
    name, _ = parse_target(target)
    if name in backend_names():
        choose_target(name)


def inputs_for(compiled: Compiled, batch: int, seed: int) -> NDArray[np.float32]:
    """Random inputs in [0, 1), the same for the same seed: [batch, units]; E0502 if the memory does not suffice."""
    shape = input_shape(compiled.graph)
    widest = max(math.prod(station.shape) for station in compiled.graph.stations)
    needed = 3 * 4 * batch * max(widest, math.prod(shape))
    if needed > memory_limit():
        text = f"a batch of {batch} needs about {needed} bytes, the memory can take {memory_limit()}"
        raise error("E0502", text, help="use a smaller --batch")
    return np.random.default_rng(seed).random((batch, *shape), dtype=np.float32)


def caller(executable: Executable, x: NDArray[np.float32]) -> Callable[[], object]:
    """The cheapest way to call: bound to its arrays where the target offers that."""
    if isinstance(executable, Bindable):
        return executable.bind(x).call
    return lambda: executable(x)


def peer_seconds(peer: Peer, compiled: Compiled, x: NDArray[np.float32], seconds: float) -> float | None:
    """Median seconds of a peer on the same net and inputs; None where its outputs are wrong."""
    net = prepare(compiled, x, peer)
    expected = np.asarray(compiled.executable(x))
    error = np.abs(net.result() - expected).max(initial=0.0)
    if not error <= _PEER_TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0))):
        return None
    return time_call(net.run, seconds).median


def _row(
    compiled: Compiled,
    batch: int,
    timing: Timing,
    ready: float,
    peers: dict[str, float | None],
    noise: float,
    limits: Limits,
) -> Row:
    work = Work.of(compiled)
    gflops = 2 * work.macs * batch / timing.median / 1e9
    limit = limits.of(compiled, batch, work, gflops)
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


def _absent(name: str, reason: str) -> Diagnostic:
    text = f"`{name}` is not installed, so its column is left out"
    return Diagnostic("E0815", text, help=reason, severity=Severity.NOTE)
