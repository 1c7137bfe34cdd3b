"""The attributes in braces: which there are, where they may stand, what they may be."""

from __future__ import annotations

from dataclasses import dataclass

from pathc.frontend import ast
from pathc.frontend.draft import Draft
from pathc.ir.catalogue import MAX_PATHS, MAX_SEED, Option
from pathc.ir.types import Word
from pathc.support.diagnostics import did_you_mean


@dataclass(frozen=True)
class AttributeRule:
    """An attribute of lines or stations: the kinds of statement that take it and its documentation.

    `option` checks its value; None where it is a word of the vocabulary or the name of a line.
    """

    name: str
    kinds: tuple[str, ...]
    doc: str
    option: Option | None = None


_PATHS = ("paths",)
_WEIGHTED = ("paths", "dense")
_ALL = ("paths", "dense", "skip")

LINE_ATTRIBUTES = (
    AttributeRule(
        "count", _PATHS, "number of paths; has no default",
        Option("count", ("int",), None, "number of paths", low=1, high=MAX_PATHS),
    ),
    AttributeRule("sequence", _PATHS, "generator that draws the paths (default sobol)"),
    AttributeRule("scramble", _PATHS, "scrambling of the generator (default none)"),
    AttributeRule(
        "seed", _PATHS, "seed of the generator (default 0)",
        Option("seed", ("int",), 0, "seed", low=0, high=MAX_SEED),
    ),
    AttributeRule(
        "skip", _PATHS, "points of the sequence left out in front (default 0)",
        Option("skip", ("int",), 0, "points left out", low=0, high=MAX_PATHS),
    ),
    AttributeRule("sign", _WEIGHTED, "rule of the initial signs (default hadamard)"),
    AttributeRule("mirror", _WEIGHTED, "line above whose paths are walked backwards"),
    AttributeRule(
        "weights", _WEIGHTED, "own weights, or those of the mirrored line (default own)",
        Option("weights", ("word",), Word("own"), "own or tied", ("own", "tied")),
    ),
    AttributeRule(
        "scale", _ALL, "factor of everything the line carries (default 1)",
        Option("scale", ("float",), 1.0, "factor"),
    ),
)  # fmt: skip
"""Attributes of `paths`, `dense` and `skip`."""

STATION_ATTRIBUTES = (
    AttributeRule(
        "pad", ("input", "layer", "output"), "round the units up to a power of two with silent ones",
        Option("pad", ("word",), Word("none"), "none or pow2", ("none", "pow2")),
    ),
)  # fmt: skip
"""Attributes of stations."""

GENERATOR_OPTIONS = ("scramble", "seed", "skip")
"""Attributes of a line that are options of its generator."""


def collect(
    draft: Draft, block: ast.Attributes | None, rules: tuple[AttributeRule, ...], kind: str
) -> dict[str, ast.Attribute]:
    """The attributes of a block that may stand there, by name; reports E0205, E0206, E0227."""
    found: dict[str, ast.Attribute] = {}
    allowed = [rule.name for rule in rules if kind in rule.kinds]
    for attribute in block.entries if block else ():
        name = attribute.name
        if name.text in found:
            draft.report("E0206", f"`{name.text}` is given twice", name.span)
        elif name.text in allowed:
            found[name.text] = attribute
        elif any(rule.name == name.text for rule in rules):
            help = f"it takes: {', '.join(allowed)}"
            draft.report("E0227", f"`{kind}` takes no `{name.text}`", name.span, help=help)
        else:
            help = did_you_mean(name.text, allowed) or f"there are: {', '.join(allowed)}"
            draft.report("E0205", f"`{kind}` has no attribute `{name.text}`", name.span, help=help)
    return found


def option_of(rules: tuple[AttributeRule, ...], name: str) -> Option:
    """The option that checks the attribute of that name; KeyError if it has none."""
    for rule in rules:
        if rule.name == name and rule.option is not None:
            return rule.option
    raise KeyError(name)
