"""Codes E01xx, the text of .path files."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E0101",
        "unexpected word or sign",
        "A statement was understood up to the caret; what stands there cannot follow. The help lists what could. "
        "Every statement is read on its own, so one such error hides no other.",
        "layer h[10] relu\n",
    ),
    Code(
        "E0102",
        "unknown statement",
        "A line whose first column is a letter begins a statement, with one of the words pathc, use, let, model, "
        "input, layer, output, paths, dense, skip, target. Indent a line to continue the one above.",
        "lyer h[10] : relu\n",
    ),
    Code(
        "E0103",
        "character without meaning",
        'The language is written in letters, digits and the signs # " ( ) [ ] { } , : = @ | + - * / % _ and ->. '
        "Other characters may stand in comments and quoted texts only.",
        "input x[10 & 2]\n",
    ),
    Code(
        "E0104",
        "bracket without its partner",
        "A bracket is opened and never closed, or closed and never opened. A statement that begins in the first "
        "column ends the one before, so a missing brace is reported at the brace that was left open.",
        "layer h[10 : relu\n",
    ),
    Code(
        "E0105",
        "faulty text in quotes",
        'A quoted text ends in the line it begins in. Inside, \\" stands for a quote, \\\\ for a backslash, \\n for '
        "a new line and \\t for a tabulator; there are no other escapes.",
        'use "targets.path\n',
    ),
    Code(
        "E0106",
        "malformed number",
        "Numbers are integers (4096, 4_096), binary multiples (4Ki, 2Mi, 1Gi), fractions (0.5, 1e-3) or sizes "
        "(3x3). 4k is refused because it could mean 4000 or 4096.",
        "input x[4k]\n",
    ),
    Code(
        "E0107",
        "number or name out of bounds",
        "Integers reach up to 2^64 - 1, fractions over the range of float64, names have at most 200 characters.",
        "let P = 1e999\n",
    ),
    Code(
        "E0108",
        "nested too deeply",
        "Brackets may be nested 64 deep and an expression may have 100 levels of operators. A `let` gives a name "
        "to a part of an expression.",
        f"let P = {'(' * 70}1{')' * 70}\n",
    ),
    Code(
        "E0109",
        "line that belongs to no statement",
        "Statements begin in the first column and end at the line end. They go on inside ( ), [ ] and { }, after "
        "->, and in a line that begins with ->. An indented line elsewhere belongs to nothing.",
        "model m\n  input x[10]\n",
    ),
    Code(
        "E0110",
        "no UTF-8",
        "Programs are UTF-8 text. The message names the first byte that is not.",
    ),
    Code(
        "E0111",
        "text too long",
        "A program has at most 2^22 characters and a statement 2^16. What needs more is better built from Python, or "
        "described by a generator instead of being written out.",
    ),
    Code(
        "E0112",
        "lines that end in carriage returns alone",
        "Lines end in a line feed, with or without a carriage return before it. Files with carriage returns alone, as "
        "systems before the year 2001 wrote them, are one line.",
        "pathc 1\rinput x[4]\r",
    ),
)
