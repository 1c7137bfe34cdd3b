"""Codes E12xx, pictures and the language server."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E1201",
        "too many stations to draw",
        "A metro map has a bar for every station; several hundred make a strip that nobody can read.",
    ),
    Code(
        "E1202",
        "no such unit to follow",
        "The receptive-field fan follows one unit backwards: `--unit digits[3]`, counted from 0.",
    ),
    Code(
        "E1203",
        "too large to draw",
        "Some pictures visit every path or every unit, which is bounded so that they take seconds at most. "
        "`--emit structure` finds most of the same facts by algebra, without visiting any.",
    ),
    Code(
        "E1204",
        "nothing to draw, or too much",
        "Matrices are drawn for junctions of paths; a net without any has none, and beyond 32 they fill no page.",
    ),
    Code(
        "E1205",
        "a unit that cannot be read",
        "A unit is written as station and number: `digits[3]`; the station alone means its first unit.",
    ),
)
