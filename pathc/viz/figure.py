"""Plots as PNG, SVG or PDF through matplotlib."""

from __future__ import annotations

import io
import math
from importlib import import_module
from pathlib import Path
from typing import Any

from pathc.support.diagnostics import Diagnostic, UnavailableError, UsageError
from pathc.support.files import write_atomically
from pathc.viz.chart import Chart, Image, Panel, Plot, Scale, Series
from pathc.viz.palette import LINES
from pathc.viz.svg import shorten

SUFFIXES = (".png", ".svg", ".pdf")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MOST_IN_LEGEND = 16
_SETTINGS = {"text.parse_math": False, "svg.hashsalt": "pathc", "svg.fonttype": "none", "font.size": 10}


def check_suffix(path: str | Path) -> str:
    """The kind of picture a name asks for, `png`, `svg` or `pdf`; raises UsageError E0807 for others."""
    kind = Path(path).suffix.lower()
    if kind not in SUFFIXES:
        text = f"`{path}` is no picture by its name"
        raise UsageError(Diagnostic("E0807", text, help=f"use {', '.join(SUFFIXES)}"))
    return kind[1:]


def save(plot: Plot, path: str | Path) -> None:
    """Draw into a file; raises UsageError E0807, UnavailableError E1210 without matplotlib, PathcError E0503."""
    write_atomically(path, draw(plot, check_suffix(path)))


def draw(plot: Plot, kind: str) -> bytes:
    """The plot as bytes of a `png`, `svg` or `pdf`; raises UnavailableError E1210 without matplotlib."""
    try:
        figure_class: Any = import_module("matplotlib.figure").Figure
        context: Any = import_module("matplotlib").rc_context
    except ImportError:
        text, help = "plots in files need the library `matplotlib`", "pip install 'pathc[plot]'"
        raise UnavailableError(Diagnostic("E1210", text, help=help)) from None
    columns = min(len(plot.panels), 3)
    rows = -(-len(plot.panels) // columns)
    with context(_SETTINGS):
        figure = figure_class(figsize=(5.6 * columns + 0.6, 4.6 * rows + 0.4), layout="constrained")
        figure.suptitle(_plain(plot.title))
        for number, panel in enumerate(plot.panels, start=1):
            _panel(figure, figure.add_subplot(rows, columns, number), panel, plot.top)
        buffer = io.BytesIO()
        dates: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(buffer, format=kind, dpi=120, metadata=dates.get(kind))
    return buffer.getvalue()


def _panel(figure: Any, axes: Any, panel: Panel, top: float) -> None:
    axes.set_title(_plain(panel.title), fontsize=11)
    axes.set_xlabel(_plain(panel.x_label))
    axes.set_ylabel(_plain(panel.y_label))
    if isinstance(panel, Image):
        _image(figure, axes, panel, top)
    else:
        _chart(axes, panel)


def _image(figure: Any, axes: Any, panel: Image, top: float) -> None:
    columns, rows = panel.extent
    shown = axes.imshow(
        panel.values, cmap="Blues", vmin=0, vmax=max(top, 1e-12), aspect="auto",
        interpolation="nearest", extent=(0, columns, rows, 0),
    )  # fmt: skip
    if panel.rows:
        axes.set_yticks([n + 0.5 for n in range(len(panel.rows))], [_plain(name) for name in panel.rows])
    figure.colorbar(shown, ax=axes, label=_plain(panel.value_label))


def _chart(axes: Any, panel: Chart) -> None:
    _scale(axes.xaxis, axes.set_xscale, panel.x_scale, _all(panel, "x"))
    _scale(axes.yaxis, axes.set_yscale, panel.y_scale, _all(panel, "y"))
    for number, series in enumerate(panel.series):
        _series(axes, series, LINES[number % len(LINES)], _MARKERS[number % len(_MARKERS)])
    axes.grid(alpha=0.3)
    if 1 <= len([s for s in panel.series if s.name]) <= _MOST_IN_LEGEND:
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)


def _scale(axis: Any, set_scale: Any, scale: Scale, values: list[float]) -> None:
    """Logarithms where all values allow them, with plain numbers at the ticks; whole numbers where all are whole."""
    if scale != "linear" and values and min(values) > 0:
        ticker: Any = import_module("matplotlib.ticker")
        base = 2 if scale == "log2" else 10
        set_scale("log", base=base)
        axis.set_major_locator(ticker.LogLocator(base=base, subs=(1.0,) if base == 2 else (1.0, 2.0, 5.0)))
        axis.set_major_formatter(ticker.FuncFormatter(_tick))
        axis.set_minor_formatter(ticker.NullFormatter())
    elif all(value == int(value) for value in values):
        axis.get_major_locator().set_params(integer=True)


def _tick(value: float, position: int | None) -> str:
    return f"{value:,.4g}"


def _series(axes: Any, series: Series, colour: str, marker: str) -> None:
    name = _plain(series.name)
    if series.look == "level":
        axes.axhline(series.y[0], linestyle="--", color=colour, label=name)
    elif series.look == "step":
        axes.step(series.x, series.y, where="post", color=colour, label=name)
    elif series.look == "points":
        size = 28 if len(series.x) < 100 else max(4.0, 4000 / len(series.x))
        axes.scatter(series.x, series.y, s=size, color=colour, marker=marker, label=name, linewidths=0)
    else:
        bars = series.errors or None
        axes.errorbar(series.x, series.y, yerr=bars, color=colour, marker=marker, markersize=4, capsize=3, label=name)


def _all(panel: Chart, axis: str) -> list[float]:
    return [v for series in panel.series if series.look != "level" for v in getattr(series, axis) if math.isfinite(v)]


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in shorten(text, 90))
