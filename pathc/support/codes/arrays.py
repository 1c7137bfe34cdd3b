"""Codes E107x: arrays beside the lanes, pipelines of junctions, and Gemmini words."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E1070",
        "no band matrix",
        "The linear array multiplies square matrices whose elements lie on as many diagonals as it has cells. The "
        "message names what lies outside, or sizes that do not fit together.",
    ),
    Code(
        "E1071",
        "a program that cannot be a pipeline",
        "In a pipeline every junction works on another input, so the program has to be one for a single sample without "
        "loops. Compile it with `--batch 1`.",
    ),
    Code(
        "E1072",
        "a Gemmini word that is not understood",
        "The interpreter knows the weight-stationary subset of the documented instructions: configuration, moves in "
        "and out, preload, compute, flush. The message names the word by its number and what it asks for.",
    ),
)
