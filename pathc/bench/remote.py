"""The bench on devices that a tracker lends: nets are compiled here, sent, held to the interpreter and measured."""

from __future__ import annotations

import time
from dataclasses import replace

from pathc.agreement import compare
from pathc.backends.tvm.remote import Device, Where, borrow
from pathc.backends.tvm.shipped import Shippable
from pathc.bench.harness import Plan, Row, Say, Tell, inputs_for, row_of
from pathc.bench.limits import Limits
from pathc.bench.timing import summary
from pathc.driver import compile_model, load, read_source
from pathc.ir.inputs import output_shape
from pathc.ir.sequences import takes_sequences
from pathc.ir.types import Word
from pathc.support.diagnostics import Diagnostic, UsageError, error
from pathc.support.source import Source
from pathc.targets import Target, choose_target

_MEASURED = ("tvm-llvm", "cuda")
_COMPARED = 64
"""Samples whose outputs are held to the interpreter."""


def bench_remote(plan: Plan, where: Where, tell: Tell, say: Say) -> list[Row]:
    """Measure the whole plan on devices with one key, borrowed anew for every figure.

    Raises as `borrow`, and UsageError E0816 for what cannot be measured there. E0680 says that the device computed
    something else than the interpreter.
    """
    if plan.peers:
        text = "other libraries run on this machine, not on a remote device"
        raise UsageError(Diagnostic("E0816", text, help="leave out --against, or --rpc"))
    tell(where.notes())
    sources = [model if isinstance(model, Source) else read_source(model) for model in plan.models]
    return [
        _row(plan, where, source, target, batch, tell, say)
        for source in sources
        for batch in plan.batches
        for target in plan.targets
    ]


def _row(plan: Plan, where: Where, source: Source, target: str, batch: int, tell: Tell, say: Say) -> Row:
    chosen = choose_target(target, load(source, plan.options.overrides))
    if chosen.backend.name not in _MEASURED:
        raise _not_measured(target)
    device = borrow(where)
    started = time.perf_counter()
    text, name = target_there(chosen, device)
    compiled = compile_model(source, text, plan.weights, replace(plan.options, batch=batch))
    executable = compiled.executable
    if not isinstance(executable, Shippable):
        raise _not_measured(target)
    if chosen.options.get("tune") is True:
        say(f"{source.name}: {target}, batch {batch}: tuning on {name}")
        executable = executable.tuned(batch, device.measuring(batch, plan.steps), name)
        compiled = replace(compiled, executable=executable)
    tell(compiled.executable.notes)
    x = inputs_for(compiled, batch, plan.options.seed, plan.steps)
    sequences = takes_sequences(compiled.graph)
    placed = device.place(executable.shipped(batch), batch, plan.steps if sequences else 1)
    y = placed.outputs(x).reshape(*x.shape[: 1 + sequences], *output_shape(compiled.graph))
    ready = time.perf_counter() - started
    held = compare(compiled, x[:_COMPARED], y[:_COMPARED])
    if not held.agrees:
        text = f"`{name}` computed something else than the interpreter, by {held.share:.3g} times the bound"
        raise error("E0680", text, help=f"compare here: pathc run {source.name} -t '{text}' --against reference")
    say(f"{source.name}: {target}, batch {batch} on {name}")
    timing = summary(placed.seconds(placed.shipped.run, plan.seconds))
    row = row_of(compiled, x, timing, ready, {}, timing.spread, Limits())
    return replace(row, target=target, device=name)


def target_there(chosen: Target, device: Device) -> tuple[str, str]:
    """A target for the processor or GPU of the device, without local tuning, and what that is called."""
    options = {key: value for key, value in chosen.options.items() if key != "tune"}
    name = ""
    if chosen.backend.name == "cuda":
        name, arch = device.gpu()
        options.setdefault("arch", Word(arch))
    else:
        name = device.processor()
        options.setdefault("cpu", Word(name))
    spelt = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in options.items()}
    return f"{chosen.backend.name}{{{','.join(f'{key}={value}' for key, value in spelt.items())}}}", name


def _not_measured(target: str) -> UsageError:
    text = f"`{target}` cannot be measured on a remote device"
    return UsageError(Diagnostic("E0816", text, help=f"targets that can: {', '.join(_MEASURED)}"))
