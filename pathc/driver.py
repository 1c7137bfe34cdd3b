"""From a file to an executable: source -> graph -> passes -> target, one function for each verb of the command line."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pathc.backends.base import Executable, Request, Weights
from pathc.ir.cells import has_trained_layers
from pathc.ir.facts import Order
from pathc.ir.graph import Graph
from pathc.ir.passes import parse_pipeline
from pathc.ir.pipeline import Hooks, load_graph, run_passes
from pathc.support.diagnostics import Diagnostic, PathcError, Severity, UsageError, did_you_mean
from pathc.support.files import write_atomically
from pathc.support.source import Source
from pathc.targets import Target, choose_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pathc.frontend.builder import Model

DEFAULT_PIPELINE = "canonical,structure"
"""What happens to every graph before a target sees it."""

STDIN = "-"
COMPANIONS = ("h", "c", "params")
"""What is written beside an object or a library so that it can be called."""
_LONGEST_STDIN = 1 << 26
_SUFFIXES = (".path", ".pir")


@runtime_checkable
class Loadable(Protocol):
    """A model built in Python (`pathc.Model`)."""

    def graph(self, overrides: Mapping[str, str] | None = None) -> Any:
        """The checked graph."""
        ...


@dataclass(frozen=True)
class Options:
    """How a model is compiled, whatever the target.

    `overrides` maps `let`s to expressions, `pipeline` spells the passes, `forms` maps junctions (`main.1`, `*`) to
    kernel forms, `plan` names a file with plans the target is to follow, `batch` 0 leaves the batch open, `seed` is
    that of random initial signs, `name` replaces that of the model, and with it that of the exported symbol.
    """

    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    pipeline: str = DEFAULT_PIPELINE
    forms: Mapping[str, str] = field(default_factory=dict[str, str])
    plan: str | Path = ""
    batch: int = 0
    seed: int = 0
    name: str = ""
    hooks: Hooks = field(default_factory=Hooks)


@dataclass(frozen=True)
class Compiled:
    """A model ready to run: its graph after the passes, weights, target, executable, and seconds it took to make."""

    graph: Graph
    weights: Weights
    target: Target
    executable: Executable
    seconds: float
    initial: bool = False

    @property
    def notes(self) -> tuple[Diagnostic, ...]:
        """What is to be said: fallbacks of the target and what they cost, schedules that stall, and missing weights."""
        found = self.executable.notes
        if any(True for _ in self.graph.facts_of(Order)):
            from pathc.ir.schedule.advice import advice

            found = (*found, *advice(self.graph))
        if not self.initial or not self.weights:
            return found
        text, help = "no weights were given, so the initial ones are used", "name a file with --weights"
        return (*found, Diagnostic("W0802", text, help=help, severity=Severity.NOTE))


def read_source(name: str | Path) -> Source:
    """The text of a `.path` or `.pir` file, or of standard input for `-`.

    Raises PathcError: E0110 no UTF-8, E0501 unreadable, E0502 too long, E0802 another suffix.
    """
    if str(name) == STDIN:
        return _read_stdin()
    if Path(name).suffix.lower() not in _SUFFIXES and not os.path.isdir(name):
        text = f"`{name}` is neither a .path nor a .pir file by its name"
        raise PathcError(Diagnostic("E0802", text, help="rename it, or pass it through standard input as `-`"))
    from pathc.frontend import read_text

    return Source(str(name), read_text(str(name)))


def _read_stdin() -> Source:
    data = sys.stdin.buffer.read(_LONGEST_STDIN + 1)
    if len(data) > _LONGEST_STDIN:
        raise PathcError(Diagnostic("E0502", f"standard input has more than {_LONGEST_STDIN} bytes"))
    try:
        return Source("<stdin>", data.decode("utf-8-sig"))
    except UnicodeDecodeError as reason:
        message = f"standard input is no UTF-8 text: byte {reason.start} is 0x{data[reason.start]:02x}"
        raise PathcError(Diagnostic("E0110", message, help="save it as UTF-8")) from None


def is_graph_text(source: Source) -> bool:
    """Whether a text is `.pir`: by the suffix of its name, without one by its first word."""
    suffix = Path(source.name).suffix.lower()
    return suffix == ".pir" or (suffix != ".path" and source.text.lstrip().startswith("pir "))


def load(model: str | Path | Source | Graph | Model, overrides: Mapping[str, str] | None = None) -> Graph:
    """The graph of a model, before any pass.

    Raises PathcError with all errors: E01xx and E02xx for a `.path` text, E03xx and E04xx for a `.pir` text, and as
    `read_source`; UsageError E0803 for overrides of a graph.
    """
    if isinstance(model, Loadable):
        return model.graph(overrides)
    if isinstance(model, Graph):
        _nothing_to_set(model.name, overrides)
        return model
    source = model if isinstance(model, Source) else read_source(model)
    if is_graph_text(source):
        _nothing_to_set(source.name, overrides)
        return load_graph(source)
    from pathc.frontend import load as load_path

    return load_path(source, overrides=overrides)


def _nothing_to_set(name: str, overrides: Mapping[str, str] | None) -> None:
    if overrides:
        text = f"`{next(iter(overrides))}` cannot be set: `{name}` is a graph, its numbers are computed"
        raise UsageError(Diagnostic("E0803", text, help="set it where the .path file is compiled"))


def check(model: str | Path | Source, overrides: Mapping[str, str] | None = None) -> list[Diagnostic]:
    """All that is to be said of a model: errors, or where there are none, warnings and lints.

    Raises PathcError only where there is no text to check: see `read_source`.
    """
    source = model if isinstance(model, Source) else read_source(model)
    found: list[Diagnostic] = []
    try:
        if is_graph_text(source):
            graph = load(source, overrides)
        else:
            from pathc.frontend import check as check_path

            graph, found = check_path(source, overrides)
        if graph is None:
            return found
        from pathc.ir.passes.lint import lint

        return [*found, *lint(graph)]
    except UsageError:
        raise
    except PathcError as mistake:
        return [*found, *mistake.diagnostics]


def transform(graph: Graph, options: Options = Options()) -> Graph:
    """The graph after the passes of the options' pipeline, dumped, printed and timed as their hooks say."""
    return run_passes(graph, parse_pipeline(options.pipeline), on_stage=options.hooks)


def weights_of(graph: Graph, weights: str | Path | Weights | None, seed: int = 0) -> Weights:
    """The weights of a graph: from a file, as given, or the initial ones; integers times their scale as float32.

    Raises PathcError E0501 to E0510.
    """
    from pathc.ir.interp.junctions import float_tensors

    return float_tensors(graph, stored_weights(graph, weights, seed))


def stored_weights(graph: Graph, weights: str | Path | Weights | None, seed: int = 0) -> Weights:
    """The same as they are stored, integers with their scales beside them; raises as `weights_of`."""
    from pathc.ir.init import initial_weights
    from pathc.ir.weights import check_weights, load_weights

    if weights is None:
        return initial_weights(graph, seed)
    if isinstance(weights, str | Path):
        return load_weights(weights, graph)
    found = check_weights(graph, weights, finite=True)
    if found:
        raise PathcError(*found)
    return weights


def compile_model(
    model: str | Path | Source | Graph | Model,
    target: str = "llvm",
    weights: str | Path | Weights | None = None,
    options: Options = Options(),
) -> Compiled:
    """Compile: load, run the passes, check the weights, hand over to the target.

    Raises as `load`, `transform`, `weights_of` and `choose_target`, and what the target refuses (E06xx).
    """
    start = time.perf_counter()
    graph = load(model, options.overrides)
    loaded = time.perf_counter()
    _tell(options, "load", loaded - start)
    chosen = choose_target(target, graph)
    refused = chosen.backend.refusals(graph)
    if refused:
        raise PathcError(*refused)
    written = graph
    graph = transform(replace(graph, name=options.name or graph.name), options)
    stored = stored_weights(written if has_trained_layers(written) else graph, weights, options.seed)
    tensors = weights_of(graph, stored)
    ready = time.perf_counter()
    plan = read_plan(options.plan, chosen) if options.plan else None
    request = Request(graph, tensors, chosen.options, options.batch, options.forms, plan, stored)
    executable = chosen.backend.compile(request)
    end = time.perf_counter()
    _tell(options, "target", end - ready)
    return Compiled(graph, tensors, chosen, executable, end - start, weights is None)


def read_plan(path: str | Path, target: Target) -> Source:
    """The text of plans; raises E0110, E0501, E0502, and UsageError E0804 for a target that has none."""
    if "plan" not in target.backend.emits:
        text = f"the target `{target.name}` follows no plan"
        raise UsageError(Diagnostic("E0804", text, help="plans are those of `llvm`"))
    from pathc.frontend import read_text

    return Source(str(path), read_text(str(path)))


def _tell(options: Options, name: str, seconds: float) -> None:
    if options.hooks.on_time is not None:
        options.hooks.on_time(name, seconds)


def evaluate(compiled: Compiled, path: str | Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs from a `.npy` file, and the outputs for them; raises E0501 to E0513 and what the target raises."""
    from pathc.ir.inputs import load_input

    inputs = load_input(path, compiled.graph)
    return inputs, compiled.executable(inputs)


def save_array(path: str | Path, values: NDArray[Any]) -> None:
    """Write an array as `.npy`, whole or not at all; E0510 for another suffix, E0503 if it cannot be written."""
    import io

    import numpy as np

    if Path(path).suffix.lower() != ".npy":
        help = "outputs are written as .npy"
        raise PathcError(Diagnostic("E0510", f"`{path}` is no array file by its name", help=help))
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_atomically(path, buffer.getvalue())


@runtime_checkable
class Linkable(Protocol):
    """An executable that can be written to files for a linker."""

    name: str


@runtime_checkable
class Launchable(Protocol):
    """An executable whose files need others beside them to be launched elsewhere."""

    def companions(self, kind: str) -> tuple[str, ...]:
        """The stages that are written beside one, each under its name as suffix."""
        ...


def write_output(compiled: Compiled, kind: str, path: str | Path) -> list[Path]:
    """Write a stage of the compilation; for objects and libraries also what a C program needs to call them.

    Everything is made before anything is written. The names of header, example and parameters are those of the
    exported symbol. Raises E0503, and as `emit`.
    """
    target = Path(path)
    files = {target: emit(compiled, kind)}
    if kind in ("o", "so") and isinstance(compiled.executable, Linkable):
        for companion in COMPANIONS:
            files[target.with_name(f"{compiled.executable.name}.{companion}")] = emit(compiled, companion)
    if isinstance(compiled.executable, Launchable):
        for companion in compiled.executable.companions(kind):
            files[target.with_suffix(f".{companion}")] = emit(compiled, companion)
    for file, data in files.items():
        write_atomically(file, data)
    if kind == "so":
        target.chmod(target.stat().st_mode | 0o111)
    return list(files)


def emit(compiled: Compiled, kind: str, others: Iterable[str] = ()) -> str | bytes:
    """A stage of a target's work as text or bytes; E0804 if neither it nor `others` has such a stage."""
    known = (*compiled.target.backend.emits, *others)
    if kind not in compiled.target.backend.emits:
        help = did_you_mean(kind, known) or f"there are {', '.join(known)}"
        raise UsageError(Diagnostic("E0804", f"the target `{compiled.target.name}` has no stage `{kind}`", help=help))
    return compiled.executable.emit(kind)


def kind_of(path: str | Path) -> str:
    """The kind of output that the suffix of a file names; E0807 if it has none."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    if not suffix:
        text = f"the name `{path}` does not say what to write"
        raise UsageError(
            Diagnostic("E0807", text, help="use .so, .o, .ll, .s, .cu, .ptx or .cubin, or say it with --emit")
        )
    return {"s": "asm"}.get(suffix, suffix)


def formatted(source: Source) -> str:
    """The text in its one layout: `.path` as `fmt` lays it out, `.pir` as it is printed."""
    if is_graph_text(source):
        from pathc.ir.text import parse_graph, print_graph

        return print_graph(parse_graph(source))
    from pathc.frontend.format import format_source

    return format_source(source)
