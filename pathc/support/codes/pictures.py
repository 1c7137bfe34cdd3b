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
    Code(
        "E1206",
        "a file with nothing to draw",
        "The file holds no object. Results are JSON: one object a line, as `--json` prints them, or one array.",
    ),
    Code(
        "E1207",
        "a file of another kind",
        "Every kind of plot reads what one verb writes: `training` that of `train --json`, `accuracy` and `pareto` "
        "that of `sweep --json` or its `results.json`, `roofline` that of `bench --json`, "
        "`pipeline` that of `sim --json`.",
    ),
    Code(
        "E1208",
        "no such junction to draw",
        "Junctions are named by line and number, from 1: `--junction main.1`. Bank plots show junctions that the pass "
        "`interleave` has scheduled.",
    ),
    Code(
        "E1209",
        "interleavers that cannot be drawn",
        "A page holds up to twelve patterns, and a pattern up to 65536 weights.",
    ),
    Code(
        "E1210",
        "matplotlib is not installed",
        "Plots in files are drawn by matplotlib; without `-o` they are printed as text, which needs nothing.",
    ),
    Code(
        "E1211",
        "a name that cannot be changed to that",
        "Stations, lines, `let`s, targets and the model can be renamed, to names that are not taken.",
    ),
    Code(
        "E1212",
        "pygls is not installed",
        "The language server speaks to editors through the library `pygls`; the help line gives the command that "
        "installs it.",
    ),
    Code(
        "E1213",
        "the client library for VS Code is not there",
        "An extension that speaks with the language server holds the library `vscode-languageclient`, which `npm "
        "install` fetches. Without `--modules` the extension colours texts alone.",
    ),
)
