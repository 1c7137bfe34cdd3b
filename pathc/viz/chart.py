"""What a plot shows, apart from how it is drawn: series of points and images, with titles, units and legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scale = Literal["linear", "log2", "log10"]
Look = Literal["line", "points", "step", "level"]


@dataclass(frozen=True)
class Series:
    """Points of one name: x and y of the same length, `errors` half the length of their bars, empty for none.

    `look` joins the points by lines, leaves them alone, joins them by steps, or draws a dashed level at the first y.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    errors: Sequence[float] = ()
    look: Look = "line"


@dataclass(frozen=True)
class Chart:
    """Series over two axes, whose labels carry their units."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"


@dataclass(frozen=True, eq=False)
class Image:
    """An array [rows, columns] of values from 0 up, dark where large; `extent` is (columns, rows) on the axes.

    `rows` names the rows, where they have names. The images of a plot share the scale of their colours.
    """

    title: str
    x_label: str
    y_label: str
    values: NDArray[np.float64]
    value_label: str
    extent: tuple[float, float]
    rows: tuple[str, ...] = ()


Panel = Chart | Image


@dataclass(frozen=True)
class Plot:
    """Panels side by side under one title."""

    title: str
    panels: tuple[Panel, ...]

    @property
    def top(self) -> float:
        """The largest value of all images, 0 without images."""
        return max((float(p.values.max(initial=0.0)) for p in self.panels if isinstance(p, Image)), default=0.0)
