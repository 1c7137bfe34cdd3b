"""Plots as plain text, for a quick look over a remote shell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pathc.ir.gf2 import IndexArray
from pathc.viz.chart import Chart, Image, Plot, Scale, Series
from pathc.viz.svg import shorten

WIDTH, HEIGHT = 64, 18
_MARKS = "ox+*#%@&"
_SHADES = " ░▒▓█"


def show(plot: Plot) -> str:
    """The plot as lines of text, panels below one another."""
    parts = [_plain(plot.title), ""]
    for panel in plot.panels:
        parts += [*(_image(panel, plot.top) if isinstance(panel, Image) else _chart(panel)), ""]
    return "\n".join(parts)


def _image(panel: Image, top: float) -> list[str]:
    rows, columns = panel.values.shape
    high, wide = min(rows, HEIGHT + 6), min(columns, WIDTH)
    row, column = _cells(rows, high), _cells(columns, wide)
    sums = np.zeros((high, wide))
    np.add.at(sums, (row[:, None], column[None, :]), panel.values)
    mean = sums / np.outer(np.bincount(row, minlength=high), np.bincount(column, minlength=wide))
    level = np.ceil(mean / top * (len(_SHADES) - 1)).astype(int) if top > 0 else np.zeros_like(mean, int)
    names = panel.rows if len(panel.rows) == high else ("",) * high
    left = max(map(len, names)) + 2
    lines = ("".join(_SHADES[min(v, len(_SHADES) - 1)] for v in line) for line in level)
    drawn = [f"{name:>{left}}|{line}|" for name, line in zip(names, lines, strict=True)]
    across = f"   across: {panel.x_label}, {panel.extent[0]:g}"
    scale = f"   down: {panel.y_label}, {panel.extent[1]:g}; █ = {top:.3g} {panel.value_label}"
    return [_plain(panel.title), *drawn, _plain(across), _plain(scale)]


def _cells(values: int, cells: int) -> IndexArray:
    """The cell of every value: int64 [values]."""
    return np.arange(values, dtype=np.int64) * cells // values


def _chart(panel: Chart) -> list[str]:
    drawn = [s for s in panel.series if s.look != "level"]
    points = [p for s in drawn for p in zip(s.x, s.y, strict=False) if _finite(*p)]
    levels = [s.y[0] for s in panel.series if s.look == "level" and math.isfinite(s.y[0])]
    if not points and not levels:
        return [_plain(panel.title), "  nothing to draw"]
    across = _Axis.of([x for x, _ in points] or [0.0], panel.x_scale, WIDTH)
    up = _Axis.of([y for _, y in points] + levels, panel.y_scale, HEIGHT)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    for number, series in enumerate(panel.series):
        _mark(grid, series, _MARKS[number % len(_MARKS)], across, up)
    left = max(len(f"{up.low:.4g}"), len(f"{up.high:.4g}"))
    labels = {0: f"{up.high:.4g}", HEIGHT - 1: f"{up.low:.4g}"}
    body = [f"{labels.get(n, ''):>{left}} |{''.join(line).rstrip()}" for n, line in enumerate(grid)]
    ends = f"{across.low:.4g}".ljust(WIDTH - len(f"{across.high:.4g}")) + f"{across.high:.4g}"
    names = [f"{_MARKS[n % len(_MARKS)]} {s.name}" for n, s in enumerate(panel.series) if s.name]
    foot = [f"{'':{left}} +{'-' * WIDTH}", f"{'':{left}}  {ends}", f"{'':{left}}  {panel.x_label}, up: {panel.y_label}"]
    return [_plain(panel.title), *body, *map(_plain, foot), *(f"{'':{left}}  {_plain(name)}" for name in names)]


def _mark(grid: list[list[str]], series: Series, mark: str, across: _Axis, up: _Axis) -> None:
    if series.look == "level":
        if math.isfinite(series.y[0]):
            row = HEIGHT - 1 - up.cell(series.y[0])
            grid[row] = [c if c != " " else "-" for c in grid[row]]
        return
    for x, y in zip(series.x, series.y, strict=False):
        if _finite(x, y):
            grid[HEIGHT - 1 - up.cell(y)][across.cell(x)] = mark


class _Axis:
    """A range of values laid over a number of cells."""

    def __init__(self, low: float, high: float, log: bool, cells: int) -> None:
        self.low, self.high, self.log, self.cells = low, high, log, cells

    @classmethod
    def of(cls, values: Sequence[float], scale: Scale, cells: int) -> _Axis:
        low, high = min(values), max(values)
        return cls(low, high, scale != "linear" and low > 0, cells)

    def cell(self, value: float) -> int:
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return min(self.cells - 1, max(0, round(share * (self.cells - 1))))


def _finite(x: float, y: float) -> bool:
    return math.isfinite(x) and math.isfinite(y)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shorten(text, 110))
