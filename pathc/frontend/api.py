"""What the frontend offers: a text in, a graph or diagnostics out."""

from __future__ import annotations

from collections.abc import Mapping

from pathc.frontend.draft import Default
from pathc.frontend.lower import lower
from pathc.frontend.uses import ReadFile, read_text
from pathc.ir.graph import Graph
from pathc.support.diagnostics import Diagnostic, PathcError, Severity
from pathc.support.source import Source


def check(
    source: Source, overrides: Mapping[str, str] | None = None, *, read_file: ReadFile = read_text
) -> tuple[Graph | None, list[Diagnostic]]:
    """The graph of a text, None if it has errors, and all diagnostics in the order of the text.

    `overrides` maps names of `let`s to expressions; `read_file` gives the text of the files named by `use`.
    """
    graph, draft = lower(source, overrides or {}, read_file)
    return graph, draft.diagnostics


def load(source: Source, *, overrides: Mapping[str, str] | None = None, read_file: ReadFile = read_text) -> Graph:
    """The graph of a text, as `check` makes it; raises PathcError with all errors (E01xx, E02xx)."""
    graph, diagnostics = check(source, overrides, read_file=read_file)
    if graph is None:
        raise PathcError(*(d for d in diagnostics if d.severity is Severity.ERROR))
    return graph


def explain_defaults(
    source: Source, overrides: Mapping[str, str] | None = None, *, read_file: ReadFile = read_text
) -> list[Default]:
    """Every default that was applied, with place and reason; raises PathcError with all errors."""
    graph, draft = lower(source, overrides or {}, read_file)
    if graph is None:
        raise PathcError(*(d for d in draft.diagnostics if d.severity is Severity.ERROR))
    return draft.defaults
