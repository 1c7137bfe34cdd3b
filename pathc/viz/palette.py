"""Colours that readers with colour-vision deficiencies can tell apart."""

from __future__ import annotations

LINES = ("#0072b2", "#d55e00", "#009e73", "#b0508a", "#9a6a00", "#3a86c8")
"""Colours of path sets on white, after M. Okabe and K. Ito, Color Universal Design, darkened where too pale."""
LINES_ON_DARK = ("#56b4e9", "#ff9a4d", "#2fd3a5", "#e69cc6", "#f0c040", "#9ccbf2")
"""The same colours where the paper is dark."""
_SCALE = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
SHADES = ("#dce9f5", "#a6c8e4", "#5f9fcf", "#1f6fae", "#08306b")
"""Five blues on white, from few to all."""
SHADES_ON_DARK = ("#223448", "#2f567d", "#4a86bd", "#86b9e6", "#dcefff")
"""The same where the paper is dark."""


def scale(position: float) -> str:
    """A colour from dark violet (0) over green to yellow (1), its lightness rising evenly."""
    place = min(max(position, 0.0), 1.0) * (len(_SCALE) - 1)
    low = min(int(place), len(_SCALE) - 2)
    part = place - low
    mixed = (round(a + (b - a) * part) for a, b in zip(_SCALE[low], _SCALE[low + 1], strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def of_bank(bank: int, banks: int) -> str:
    """The colour of a bank; neighbours differ as far as so many colours can."""
    return scale(0.5 if banks == 1 else bank / (banks - 1))
