"""Random visits for tests of whole nets, some of which pick the coordinates of a unit one by one."""

from __future__ import annotations

from hypothesis import strategies as st

from pathc.ir.graph import Axis, Station, Visit


@st.composite
def visits_of(draw: st.DrawFn, station: Station, dim: int) -> Visit:
    """A visit by dimension `dim`, or by two axes whose first dimension other stations may have, too."""
    if draw(st.integers(0, 2)):
        return Visit(station.name, dim)
    rows = draw(st.sampled_from([n for n in range(1, station.units + 1) if station.units % n == 0]))
    axes = Axis(draw(st.integers(0, 2)), rows), Axis(dim + 3, station.units // rows)
    return Visit(station.name, axes[0].dim, axes=axes)
