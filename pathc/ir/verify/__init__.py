"""What must hold of every graph, as a list of rules; the docstring of a rule is its documentation.

Level `graph` is stations and lines, level `structured` the facts that passes have added. A rule may rely on all
rules above it: checking stops at the first one that finds something. A new rule goes into the file that is about its
subject, or into a new one named in `RULES`.
"""

from __future__ import annotations

from pathc.ir.graph import Graph
from pathc.ir.verify import facts, fits, network, words
from pathc.ir.verify.rule import Level, Rule
from pathc.support.diagnostics import Diagnostic, PathcError

__all__ = ["RULES", "Level", "Rule", "verify", "violations"]

RULES: tuple[Rule, ...] = (*network.RULES, *words.RULES, *fits.RULES, *facts.RULES)
"""All rules, in the order in which they are checked."""


def violations(graph: Graph) -> list[Diagnostic]:
    """What the first broken rule finds, empty if every rule holds."""
    for each in RULES:
        if found := list(each.check(graph)):
            return found
    return []


def verify(graph: Graph) -> None:
    """Raise PathcError with what the first broken rule finds: E0301 to E0314."""
    if found := violations(graph):
        raise PathcError(*found)
