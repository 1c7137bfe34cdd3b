"""From the syntax tree to the path graph: names, numbers and defaults settled, every mistake collected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pathc.frontend import ast
from pathc.frontend.draft import Draft
from pathc.frontend.lines import lower_line
from pathc.frontend.parser import parse_expression, parse_with_faults
from pathc.frontend.rules import check_graph, infer_extents
from pathc.frontend.scope import evaluate
from pathc.frontend.stations import lower_station
from pathc.frontend.uses import ReadFile, define, file_key, lower_target, use_file
from pathc.ir.graph import Graph
from pathc.ir.misfits import misfits
from pathc.support.diagnostics import Diagnostic, Severity, did_you_mean
from pathc.support.source import Source

LANGUAGE_VERSION = 1
"""Version of the language this compiler reads."""

_DECLARATION = re.compile(r"^(let|input|layer|output|paths|dense|skip)[ \t]+([A-Za-z_]\w*)", re.MULTILINE | re.ASCII)


def lower(source: Source, overrides: Mapping[str, str], read_file: ReadFile) -> tuple[Graph | None, Draft]:
    """The graph of a text (None if it has errors) and the draft with diagnostics and applied defaults."""
    file, faults = parse_with_faults(source)
    draft = Draft(file, diagnostics=list(faults))
    _header(draft)
    if faults:
        _forgive(draft)
    _numbers(draft, overrides, read_file)
    _stations(draft)
    _lines(draft)
    for statement in file.statements:
        if isinstance(statement, ast.Target):
            lower_target(draft, statement)
    if not _has_errors(draft):
        infer_extents(draft)
    if not faults:
        check_graph(draft)
    if not _has_errors(draft):
        spans = {str(node.span.place): node.name.span for node in draft.nodes.values()}
        draft.diagnostics.extend(replace(d, place=spans.get(str(d.loc), d.place)) for d in misfits(_graph(draft)))
    draft.diagnostics.sort(key=_position)
    return (None if _has_errors(draft) else _graph(draft)), draft


def _graph(draft: Draft) -> Graph:
    place = next((s.span.place for s in draft.file.statements if isinstance(s, ast.Model)), None)
    return Graph(
        draft.name,
        tuple(draft.stations.values()),
        tuple(draft.lines.values()),
        tuple(draft.targets.values()),
        doc=draft.doc,
        loc=place or draft.file.source.span(0, 0).place,
    )


def _has_errors(draft: Draft) -> bool:
    return any(diagnostic.severity is Severity.ERROR for diagnostic in draft.diagnostics)


def _position(diagnostic: Diagnostic) -> tuple[str, int, int]:
    loc = diagnostic.loc
    return ("", 0, 0) if loc is None else (loc.file, loc.line, loc.column)


def _header(draft: Draft) -> None:
    """Version and name of the model."""
    versions = [s for s in draft.file.statements if isinstance(s, ast.Version)]
    models = [s for s in draft.file.statements if isinstance(s, ast.Model)]
    for version in versions:
        if version is not draft.file.statements[0]:
            draft.report("E0233", "the version of the language comes first, once", version.span)
        elif version.number.value != LANGUAGE_VERSION:
            message = f"version {version.number.spelling} of the language is unknown"
            draft.report("E0233", message, version.span, help=f"write `pathc {LANGUAGE_VERSION}`")
    for model in models[1:]:
        help = f"it is called `{models[0].name.text}` in line {models[0].span.place.line}"
        draft.report("E0202", "the model has a second name", model.span, help=help)
    if not versions:
        draft.default(None, "file", "version", LANGUAGE_VERSION, "no `pathc` statement")
    if models:
        draft.name, draft.doc = models[0].name.text, models[0].doc
        return
    stem = re.sub(r"\W", "_", Path(draft.file.source.name).stem, flags=re.ASCII)
    draft.name = stem if re.match(r"[A-Za-z]", stem) else "model"
    draft.default(None, "file", "model", draft.name, "no `model` statement; named after the file")


def _forgive(draft: Draft) -> None:
    """Take names declared by statements that could not be parsed as known, so that their uses are not reported."""
    parsed = {getattr(getattr(s, "name", None), "text", "") for s in draft.file.statements}
    for keyword, name in _DECLARATION.findall(draft.file.source.text):
        if name in parsed:
            continue
        if keyword == "let":
            draft.scope.broken.add(name)
        else:
            draft.broken.add(name)


def _numbers(draft: Draft, overrides: Mapping[str, str], read_file: ReadFile) -> None:
    """Everything `let` and `use` bring, in the order of the text."""
    names = [s.name.text for s in draft.file.statements if isinstance(s, ast.Let)]
    for name in overrides:
        if name not in names:
            help = did_you_mean(name, names) or (f"there are: {', '.join(names)}" if names else "there is none")
            draft.report("E0228", f"no `let {name}` that could be overridden", None, help=help)
    chain = (draft.file.source.name,)
    seen = {file_key(chain[0])}
    for statement in draft.file.statements:
        if isinstance(statement, ast.Use):
            draft.attempt(lambda s=statement: use_file(draft, s, chain, seen, read_file))
        elif isinstance(statement, ast.Let):
            override = overrides.get(statement.name.text)
            define(draft, statement.name, lambda s=statement, o=override: _let_value(draft, s, o))


def _let_value(draft: Draft, let: ast.Let, override: str | None) -> int | float:
    own = evaluate(let.value, draft.scope)
    if override is None:
        return own
    return evaluate(parse_expression(Source(f"--set {let.name.text}", override)), draft.scope)


def _stations(draft: Draft) -> None:
    for node in draft.file.statements:
        if not isinstance(node, ast.Station):
            continue
        name = node.name.text
        if name in draft.nodes:
            first = draft.nodes[name].span.place
            draft.report("E0202", f"a second station `{name}`", node.name.span, help=f"the first is in {first}")
            continue
        draft.nodes[name] = node
        station = lower_station(draft, node)
        if station is None:
            draft.broken.add(name)
        else:
            draft.stations[name] = station


def _lines(draft: Draft) -> None:
    nodes = [node for node in draft.file.statements if isinstance(node, ast.Line)]
    for node in nodes:
        draft.line_nodes.setdefault(node.name.text, node)
    for node in nodes:
        first = draft.line_nodes[node.name.text]
        if first is not node:
            help = f"the first is in {first.span.place}"
            draft.report("E0202", f"a second line `{node.name.text}`", node.name.span, help=help)
            continue
        line = lower_line(draft, node)
        if line is not None:
            draft.lines[node.name.text] = line
