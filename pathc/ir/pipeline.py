"""Running passes over a graph, with one callback that verifies, dumps, prints and times every stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from pathc.ir.graph import Graph
from pathc.ir.text import parse_graph, print_graph
from pathc.ir.verify import verify, violations
from pathc.support.diagnostics import Diagnostic, InternalError, UsageError, did_you_mean, error
from pathc.support.files import write_atomically
from pathc.support.source import Source

_LONGEST_TEXT = 1 << 26


class Step(Protocol):
    """What a pipeline runs: a pass, `Graph -> Graph`, with a name."""

    name: ClassVar[str]

    def __call__(self, graph: Graph) -> Graph:
        """The new graph; the old one is not touched."""
        ...


@dataclass(frozen=True)
class Stage:
    """A graph on its way: `number` counts from 0, `name` is the pass that made it, `seconds` what that took."""

    number: int
    name: str
    graph: Graph
    seconds: float

    @property
    def file_name(self) -> str:
        """Name of the dump: `01-structure.pir`."""
        return f"{self.number:02}-{self.name}.pir"


OnStage = Callable[[Stage], None]


@dataclass(frozen=True)
class Hooks:
    """What is done with every stage besides verifying it.

    `dump_dir` receives numbered dumps; `print_after` names passes (or `all`) whose result goes to `write`;
    `on_time` is told name and seconds of every pass; `on_stage` is handed every stage; `stop_after` names the pass
    (or the first stage) behind which the pipeline ends.
    """

    dump_dir: str | Path | None = None
    print_after: frozenset[str] = frozenset()
    stop_after: str = ""
    write: Callable[[str], object] = print
    on_time: Callable[[str, float], object] | None = None
    on_stage: OnStage | None = None

    def __call__(self, stage: Stage) -> None:
        """Do with one stage what the fields ask for."""
        if self.dump_dir is not None:
            write_atomically(Path(self.dump_dir) / stage.file_name, print_graph(stage.graph))
        if self.print_after & {stage.name, "all"}:
            self.write(print_graph(stage.graph))
        if self.on_time is not None:
            self.on_time(stage.name, stage.seconds)
        if self.on_stage is not None:
            self.on_stage(stage)


def run_passes(graph: Graph, passes: Sequence[Step], *, on_stage: OnStage | None = None, first: str = "lower") -> Graph:
    """The graph after all passes, or up to `stop_after` if `on_stage` is a `Hooks` that names one.

    `first` names the stage that made `graph`; it is handed to `on_stage` as number 0. Every stage is verified.
    Raises PathcError: E0301 to E0314 if the given graph is wrong, what a pass raises, E0503 if a dump cannot be
    written; UsageError E0329 for a name in the hooks that no stage has; InternalError E0319 if a pass returns a
    graph that is wrong.
    """
    hooks = on_stage if isinstance(on_stage, Hooks) else Hooks(on_stage=on_stage)
    _check_names(hooks, [first, *(step.name for step in passes)])
    if hooks.dump_dir is not None:
        _make_folder(Path(hooks.dump_dir))
    verify(graph)
    hooks(Stage(0, first, graph, 0.0))
    if hooks.stop_after == first:
        return graph
    for number, step in enumerate(passes, start=1):
        start = time.perf_counter()
        graph = step(graph)
        seconds = time.perf_counter() - start
        _verify_result(graph, step.name)
        hooks(Stage(number, step.name, graph, seconds))
        if hooks.stop_after == step.name:
            break
    return graph


def load_graph(source: Source) -> Graph:
    """The verified graph of a `.pir` text, from which any pipeline can go on.

    Nodes that name no place of their own point into this text. Raises PathcError: E0401 to E0409, E0301 to E0314.
    """
    if len(source.text) > _LONGEST_TEXT:
        message = f"`{source.name}` has {len(source.text)} characters, at most {_LONGEST_TEXT} are read"
        raise error("E0409", message, help="large tables belong into .npz and .safetensors files")
    graph = parse_graph(source, places="text")
    verify(graph)
    return graph


def _verify_result(graph: Graph, name: str) -> None:
    found = violations(graph)
    if found:
        text = f"the pass `{name}` has made a graph that is wrong"
        cause = tuple(f"{d.code}: {d.message}" for d in found)
        cure = "please report this with the model; leaving out the pass may help"
        raise InternalError(Diagnostic("E0319", text, graph.loc, notes=cause, help=cure))


def _check_names(hooks: Hooks, names: Sequence[str]) -> None:
    asked = {hooks.stop_after, *hooks.print_after} - {"", "all"}
    for name in sorted(asked.difference(names)):
        hint = did_you_mean(name, names) or f"stages: {', '.join(names)}"
        raise UsageError(Diagnostic("E0329", f"there is no stage `{name}` in this pipeline", help=hint))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        text = f"cannot create the folder `{folder}`: {reason.strerror}"
        raise error("E0503", text, help="choose another folder") from reason
