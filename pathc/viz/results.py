"""Plots of results: what `train`, `sweep` and `bench` wrote with `--json`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from pathc.support.diagnostics import Diagnostic, PathcError, error
from pathc.support.files import read_bounded
from pathc.viz.chart import Chart, Image, Plot, Series

Record = dict[str, Any]
MOST_BYTES = 1 << 27
MOST_RECORDS = 1 << 20
_MOST_UNITS, _MOST_CYCLES, _COLUMNS = 64, 1 << 40, 256


def read_records(path: str | Path, fields: dict[str, str], made_by: str) -> list[Record]:
    """The objects of a JSON file, one a line or all in one array; `fields` maps those that must be there to `number`,
    `number?` (or null), `text` or `list`, `made_by` is the command that writes such files.

    Raises PathcError: E0501, E0502, E1206 for a file without objects, E1207 for one that is something else.
    """
    data = read_bounded(path, MOST_BYTES)
    try:
        records = _parse(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as reason:
        text = f"`{path}` is no JSON: {str(reason)[:120]}"
        raise PathcError(Diagnostic("E1207", text, help=f"give what `{made_by}` wrote")) from None
    if not records:
        raise error("E1206", f"`{path}` holds nothing to draw", help=f"give what `{made_by}` wrote")
    for number, record in enumerate(records, start=1):
        _check(path, number, record, fields, made_by)
    return cast("list[Record]", records)


def training(runs: Sequence[tuple[str, Sequence[Record]]]) -> Plot:
    """Loss and accuracy over the epochs, a curve or two for each run."""
    loss = tuple(_curve(name, records, "loss", 1.0) for name, records in runs)
    shown = [(name, kind) for name, _ in runs for kind in ("train_accuracy", "test_accuracy")]
    found = dict(runs)
    curves = [_curve(f"{name}, {kind[:-9]}", found[name], kind, 100.0) for name, kind in shown]
    panels = [Chart("loss", "epoch", "loss", loss, y_scale="log10")]
    if any(series.x for series in curves):
        panels.append(Chart("accuracy", "epoch", "accuracy [%]", tuple(s for s in curves if s.x)))
    return Plot("training", tuple(panels))


def accuracy(records: Sequence[Record]) -> Plot:
    """Accuracy over the number of paths, a curve per model; nets without paths are dashed levels."""
    series: list[Series] = []
    for model in dict.fromkeys(str(r["model"]) for r in records):
        rows = sorted((r for r in records if r["model"] == model and r["accuracy"] is not None), key=_paths)
        drawn = [r for r in rows if r["paths"] > 0]
        if drawn:
            spreads = [float(r.get("spread") or 0.0) for r in drawn]
            series.append(Series(model, [_paths(r) for r in drawn], [r["accuracy"] for r in drawn], spreads))
        series += [Series(f"{model}, dense", (), [r["accuracy"]], look="level") for r in rows if not r["paths"]]
    chart = Chart("", "paths", "test accuracy [%]", tuple(series), x_scale="log2")
    return Plot("accuracy over paths, mean and standard deviation over the seeds", (chart,))


def share(records: Sequence[Record]) -> Plot:
    """Accuracy over the share of weights that are on sampled paths; the nets they come from are dashed levels."""
    series: list[Series] = []
    for model in dict.fromkeys(str(r["model"]) for r in records):
        own = [r for r in records if r["model"] == model]
        drawn = sorted((r for r in own if r["paths"] > 0), key=lambda r: float(r["share"]))
        series.append(Series(model, [100.0 * r["share"] for r in drawn], [r["accuracy"] for r in drawn]))
        series += [Series(f"{model}, whole", (), [r["accuracy"]], look="level") for r in own if not r["paths"]]
    chart = Chart("", "weights on a path [%]", "test accuracy [%]", tuple(series))
    return Plot("accuracy over the share of weights sampled", (chart,))


def pareto(records: Sequence[Record]) -> Plot:
    """Accuracy over the number of weights, and the front of nets that none with fewer weights surpasses."""
    rows = [r for r in records if r["accuracy"] is not None]
    series: list[Series] = []
    for model in dict.fromkeys(str(r["model"]) for r in rows):
        own = [r for r in rows if r["model"] == model]
        series.append(Series(model, [r["weights"] for r in own], [r["accuracy"] for r in own], look="points"))
    front = pareto_front([(float(r["weights"]), float(r["accuracy"])) for r in rows])
    series.append(Series("Pareto front", [x for x, _ in front], [y for _, y in front], look="step"))
    chart = Chart("", "weights", "test accuracy [%]", tuple(series), x_scale="log2")
    return Plot("accuracy over weights", (chart,))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, gain) that no other beats: ascending in both."""
    front: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda p: (p[0], -p[1])):
        if math.isfinite(gain) and (not front or gain > front[-1][1]):
            front.append((cost, gain))
    return front


def roofline(records: Sequence[Record]) -> Plot:
    """Rate over arithmetic intensity (operations per byte of weights and biases), beside the limit of the machine."""
    series: list[Series] = []
    for name in dict.fromkeys(_label(r) for r in records):
        own = sorted((r for r in records if _label(r) == name and r["bytes"] > 0), key=_intensity)
        series.append(Series(name, [_intensity(r) for r in own], [r["gflops"] for r in own]))
        limited = [r for r in own if r.get("roofline_gflops")]
        if limited:
            at, limit = [_intensity(r) for r in limited], [float(r["roofline_gflops"]) for r in limited]
            series.append(Series(f"limit of {name}", at, limit, look="points"))
    axes = ("operations per byte of parameters [FLOP/B]", "rate [GFLOP/s]")
    return Plot("roofline", (Chart("", *axes, tuple(series), x_scale="log10", y_scale="log10"),))


def pipeline(record: Record) -> Plot:
    """When the units of a simulated machine work: the share of the cycles that each spends on instructions.

    Raises PathcError E1207 for spans that are none.
    """
    cycles, spans = int(record["cycles"]), cast("list[Any]", record["spans"])
    names = tuple(dict.fromkeys(str(_span(span)[0]) for span in spans))
    if not names or len(names) > _MOST_UNITS or not 1 <= cycles <= _MOST_CYCLES:
        raise error("E1206", f"a run of {cycles} cycles and {len(spans)} instructions cannot be drawn")
    columns = min(cycles, _COLUMNS)
    busy = np.zeros((len(names), columns))
    edges = np.arange(columns + 1) * cycles / columns
    for unit, start, end in map(_span, spans):
        overlap = np.minimum(edges[1:], end + 1) - np.maximum(edges[:-1], start)
        busy[names.index(unit)] += np.maximum(overlap, 0.0) / np.diff(edges)
    shown = np.minimum(busy, 1.0)
    panel = Image("", "cycle", "unit", shown, "share of cycles", (cycles, len(names)), names)
    return Plot(f"{record['program']}: {cycles:,} cycles", (panel,))


def _span(span: Any) -> tuple[str, int, int]:
    """Unit, first and last cycle of an instruction."""
    known = cast(Record, span) if isinstance(span, dict) else {}
    unit, start, end = known.get("unit"), known.get("start"), known.get("end")
    if not isinstance(unit, str) or not isinstance(start, int) or not isinstance(end, int):
        raise error("E1207", "a span has no unit, start and end", help="give what `pathc sim --json` wrote")
    return unit, start, end


def _parse(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > MOST_RECORDS:
        raise ValueError(f"more than {MOST_RECORDS} lines")
    return [json.loads(line) for line in lines]


def _check(path: str | Path, number: int, record: Any, fields: dict[str, str], made_by: str) -> None:
    known = cast(Record, record) if isinstance(record, dict) else {}
    wrong = [name for name, kind in fields.items() if not _is(known.get(name), kind, name in known)]
    if wrong:
        text = f"object {number} of `{path}` is of another kind: it has no {' and no '.join(wrong[:3])}"
        raise error("E1207", text, help=f"give what `{made_by}` wrote")


def _is(value: Any, kind: str, present: bool) -> bool:
    if kind == "list":
        return isinstance(value, list)
    if kind == "text":
        return isinstance(value, str)
    if value is None:
        return present and kind == "number?"
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _curve(name: str, records: Sequence[Record], field: str, factor: float) -> Series:
    rows = [r for r in records if r.get(field) is not None]
    return Series(name, [r["epoch"] for r in rows], [factor * r[field] for r in rows])


def _paths(record: Record) -> float:
    return float(record["paths"])


def _label(record: Record) -> str:
    return f"{record['model']} on {record['target']}"


def _intensity(record: Record) -> float:
    return record["gflops"] * 1e9 * record["seconds_median"] / record["bytes"]
