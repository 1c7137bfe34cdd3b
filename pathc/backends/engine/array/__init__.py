"""The weight-stationary array beside the lanes and the linear array for bands: cycles, values, and which to take."""

from __future__ import annotations

from pathc.backends.engine.array.band import Band, multiply_band
from pathc.backends.engine.array.tiles import Pass, Tiling, grouped, multiply, tile_cycles, tiling_of

__all__ = ["Band", "Pass", "Tiling", "grouped", "multiply", "multiply_band", "tile_cycles", "tiling_of"]
