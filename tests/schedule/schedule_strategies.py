"""Schedules that nobody made with care: they leave out paths, repeat them, and clash."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from pathc.ir.schedule import Banks, Schedule


@st.composite
def schedules(draw):
    paths, z, cycles = draw(st.integers(1, 12)), draw(st.integers(1, 5)), draw(st.integers(1, 6))
    layouts = [
        Banks(draw(st.integers(1, 9)), draw(st.integers(1, 6)), draw(st.sampled_from(["high", "low", "bank-major"])))
        for _ in range(2)
    ]
    lanes = draw(st.lists(st.integers(-1, paths - 1), min_size=z * cycles, max_size=z * cycles))
    ends = [draw(st.lists(st.integers(0, b.units - 1), min_size=paths, max_size=paths)) for b in layouts]
    return Schedule(np.array(lanes).reshape(cycles, z), *(np.array(e) for e in ends), *layouts)
