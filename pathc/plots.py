"""What `pathc plot KIND` draws: results from JSON files, patterns from models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pathc.driver import DEFAULT_PIPELINE, Options, load, read_source, transform
from pathc.ir.graph import Graph
from pathc.support.diagnostics import Diagnostic, UsageError, did_you_mean
from pathc.viz.chart import Plot

SCHEDULED = "canonical,structure,bank,interleave"
"""Passes that place units in banks and paths in cycles."""


@dataclass(frozen=True)
class Request:
    """What to draw: `files` are models or results, `junction` such as `main.1` picks one where a kind shows one.

    `patterns` names interleavers of `p` left units with fan-out `fo` on `z` memories.
    """

    files: Sequence[str] = ()
    junction: str = ""
    patterns: Sequence[str] = ("basic", "sv", "ss", "md", "sv+ss", "ss+md")
    p: int = 64
    fo: int = 4
    z: int = 16
    seed: int = 0
    options: Options = field(default_factory=Options)


def plot_of(kind: str, request: Request) -> Plot:
    """The plot of a kind of KINDS.

    Raises UsageError E0804 for a kind that there is not or too many or few files, PathcError E1206 to E1209 for what
    cannot be drawn, and as `read_source`, `load` and `transform` for models.
    """
    if kind not in KINDS:
        help = did_you_mean(kind, KINDS) or f"kinds: {', '.join(KINDS)}"
        raise UsageError(Diagnostic("E0804", f"there is no plot `{kind}`", help=help))
    draw, least, most, _ = KINDS[kind]
    if not least <= len(request.files) <= most:
        wanted = "no file" if most == 0 else "one file" if most == 1 else "one file or more"
        text = f"`plot {kind}` takes {wanted}, not {len(request.files)}"
        raise UsageError(Diagnostic("E0804", text, help=f"pathc plot {kind}" + (" FILE" if most else "")))
    return draw(request)


def _graph(request: Request, pipeline: str = DEFAULT_PIPELINE) -> Graph:
    options = request.options
    if options.pipeline == DEFAULT_PIPELINE:
        options = replace(options, pipeline=pipeline)
    return transform(load(read_source(request.files[0]), options.overrides), options)


def _adjacency(request: Request) -> Plot:
    from pathc.viz.patterns import adjacency

    return adjacency(_graph(request), request.junction)


def _interleaver(request: Request) -> Plot:
    from pathc.viz.patterns import interleavers

    return interleavers(request.patterns, request.p, request.fo, request.z, request.seed)


def _sobol(request: Request) -> Plot:
    from pathc.viz.patterns import projections

    return projections(_graph(request), request.junction.partition(".")[0])


def _banks(request: Request) -> Plot:
    from pathc.viz.patterns import occupancy

    return occupancy(_graph(request, SCHEDULED), request.junction)


def _records(request: Request, fields: dict[str, str], made_by: str) -> list[tuple[str, list[dict[str, Any]]]]:
    from pathc.viz.results import read_records

    return [(Path(file).stem, read_records(file, fields, made_by)) for file in request.files]


def _training(request: Request) -> Plot:
    from pathc.viz.results import training

    return training(_records(request, {"epoch": "number", "loss": "number"}, "pathc train --json"))


_SWEPT = {"model": "text", "paths": "number", "weights": "number", "accuracy": "number?"}
_MEASURED = {
    "model": "text", "target": "text", "gflops": "number", "bytes": "number", "seconds_median": "number",
}  # fmt: skip


def _swept(request: Request) -> list[dict[str, Any]]:
    return [record for _, records in _records(request, _SWEPT, "pathc sweep --json") for record in records]


def _accuracy(request: Request) -> Plot:
    from pathc.viz.results import accuracy

    return accuracy(_swept(request))


def _share(request: Request) -> Plot:
    from pathc.viz.results import share

    fields = {"model": "text", "paths": "number", "share": "number", "accuracy": "number"}
    return share([r for _, records in _records(request, fields, "pathc sample --json") for r in records])


def _pareto(request: Request) -> Plot:
    from pathc.viz.results import pareto

    return pareto(_swept(request))


def _roofline(request: Request) -> Plot:
    from pathc.viz.results import roofline

    return roofline([r for _, records in _records(request, _MEASURED, "pathc bench --json") for r in records])


def _pipeline(request: Request) -> Plot:
    from pathc.viz.results import pipeline

    fields = {"program": "text", "cycles": "number", "spans": "list"}
    return pipeline(_records(request, fields, "pathc sim --json")[0][1][0])


_MANY = 1 << 10
KINDS: dict[str, tuple[Callable[[Request], Plot], int, int, str]] = {
    "adjacency": (_adjacency, 1, 1, "the matrix of a junction, in natural and in path-address order"),
    "sobol": (_sobol, 1, 1, "units that paths visit at neighbouring stations"),
    "banks": (_banks, 1, 1, "accesses of memory banks over the cycles of a schedule"),
    "interleaver": (_interleaver, 0, 0, "patterns of clash-free interleavers (--patterns, --size, --fan-out, --lanes)"),
    "training": (_training, 1, _MANY, "loss and accuracy over epochs, from `train --json`"),
    "accuracy": (_accuracy, 1, _MANY, "accuracy over paths, from the results of `sweep`"),
    "share": (_share, 1, _MANY, "accuracy over the share of weights on sampled paths, from `sample --json`"),
    "pareto": (_pareto, 1, _MANY, "accuracy over weights and its front, from the results of `sweep`"),
    "pipeline": (_pipeline, 1, 1, "which units of a simulated machine work when, from `sim --json`"),
    "roofline": (_roofline, 1, _MANY, "rate over arithmetic intensity, from `bench --json`"),
}
"""For every kind: what draws it, fewest and most files, and a line of help."""
