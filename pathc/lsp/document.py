"""What an editor asks about one text; answers are texts and offsets, free of any protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from pathc.driver import check, formatted, load
from pathc.frontend import ast
from pathc.frontend.attributes import LINE_ATTRIBUTES, STATION_ATTRIBUTES
from pathc.frontend.parser import parse_with_faults
from pathc.frontend.uses import used_files, used_path
from pathc.handbook import explain
from pathc.ir.catalogue import BACKENDS, STAGE_KINDS, entries, find
from pathc.ir.graph import Graph
from pathc.ir.report import analysed, junction_report
from pathc.lsp.fixes import Fix, fixes
from pathc.lsp.names import Occurrence, at, definition, lets_of, occurrences, same
from pathc.support.diagnostics import Diagnostic, PathcError, error
from pathc.support.source import Source, Span

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUES = ("generator", "sign", "recurrence")
KEYWORD_DOCS = {
    "pathc": "`pathc 1`: the version of the language",
    "use": '`use "file.path"`: bring in the `let`s and targets of another file',
    "let": "`let NAME = expression`: a number with a name, which `--set` overrides",
    "model": "`model NAME`: the name of the model",
    "input": "a station fed from outside",
    "layer": "a station of hidden units",
    "output": "a station whose values are returned",
    "paths": "a line of paths, each of which visits one unit of every station",
    "dense": "a line that joins all units of neighbouring stations",
    "skip": "a line that adds the values of one station to another",
    "target": "a backend with options under a name",
}
"""What the words say that begin a statement."""


@dataclass(frozen=True)
class Completion:
    """A word that may stand at a place, what kind of thing it is, and a line about it."""

    text: str
    kind: str
    doc: str


class Document:
    """One version of a text; everything is worked out when first asked for."""

    def __init__(self, name: str, text: str) -> None:
        self.source = Source(name, text)

    @cached_property
    def file(self) -> ast.File:
        """The statements that could be parsed."""
        return parse_with_faults(self.source)[0]

    @cached_property
    def names(self) -> list[Occurrence]:
        """All names in the order of the text."""
        return occurrences(self.file, self.lets_elsewhere)

    @cached_property
    def used(self) -> dict[str, ast.File]:
        """The files that this one uses, by path."""
        return used_files(self.file)

    @cached_property
    def lets_elsewhere(self) -> dict[str, Span]:
        """The `let`s that come from used files, and where they are."""
        return lets_of(self.used.values())

    @cached_property
    def diagnostics(self) -> list[Diagnostic]:
        """All that is wrong, or odd where nothing is wrong."""
        return check(self.source)

    @cached_property
    def graph(self) -> Graph | None:
        """The graph, None while the text has errors."""
        try:
            return load(self.source)
        except PathcError:
            return None

    @cached_property
    def analysed(self) -> Graph:
        """The graph with all that a report shows; raises PathcError while the text has errors."""
        return analysed(load(self.source) if self.graph is None else self.graph)

    def span_of(self, diagnostic: Diagnostic) -> Span:
        """Where a diagnostic points to in this text; its first character for one that is about another file."""
        place = diagnostic.place
        if isinstance(place, Span):
            return place if place.source == self.source else self.source.span(0, 0)
        if place is None or place.file != self.source.name or place.line > len(self.source.line_starts):
            return self.source.span(0, 0)
        start = min(self.source.line_starts[place.line - 1] + place.column - 1, len(self.source.text))
        match = _WORD.match(self.source.text, start)
        return self.source.span(start, match.end() if match else start)

    def hover(self, offset: int) -> tuple[Span, str] | None:
        """What is known about the name at an offset, as Markdown, and where it stands."""
        chosen = at(self.names, offset)
        if chosen is not None:
            text = self._about(chosen)
            return (chosen.span, text) if text else None
        word = next((m for m in _WORD.finditer(self.source.text) if m.start() <= offset <= m.end()), None)
        if word is None or word[0] not in KEYWORD_DOCS or self.source.position(word.start())[1] != 1:
            return None
        return self.source.span(*word.span()), f"`{word[0]}`: {KEYWORD_DOCS[word[0]]}"

    def definition(self, offset: int) -> Span | None:
        """Where the thing at an offset is defined, in this text or in a file that it uses."""
        chosen = at(self.names, offset)
        if chosen is not None:
            found = definition(self.names, chosen)
            elsewhere = self.lets_elsewhere.get(chosen.name) if chosen.kind == "let" else None
            return found.span if found else elsewhere
        for statement in self.file.statements:
            if isinstance(statement, ast.Use) and statement.path.span.start <= offset <= statement.path.span.end:
                used = self.used.get(used_path(statement, self.source.name))
                return used.source.span(0, 0) if used else None
        return None

    def references(self, offset: int) -> list[Span]:
        """All places of the thing at an offset, its definition first among those of the text's order."""
        chosen = at(self.names, offset)
        if chosen is None or definition(self.names, chosen) is None:
            return []
        return [one.span for one in same(self.names, chosen)]

    def rename(self, offset: int, name: str) -> list[Span]:
        """All places to be replaced for a new name; raises PathcError E1211 if it is no name or is taken."""
        places = self.references(offset)
        if not places:
            raise error("E1211", "what stands here has no name that could be changed")
        if not _NAME.match(name) or name in ast.KEYWORDS:
            raise error("E1211", f"`{name}` is no name", help="letters, digits and _, no digit in front")
        if any(one.name == name and one.defines for one in self.names):
            raise error("E1211", f"`{name}` is taken", help="choose another name")
        return places

    def formatted(self) -> str | None:
        """The text in its one layout, None while it cannot be parsed."""
        try:
            return formatted(self.source)
        except PathcError:
            return None

    def fixes(self) -> list[Fix]:
        """Replacements that follow from the help of diagnostics."""
        return [fix for d in self.diagnostics for fix in fixes(self.file, d, self.span_of(d))]

    def completions(self, offset: int) -> list[Completion]:
        """What may stand at an offset."""
        before = self.source.text[:offset].rpartition("\n")[2]
        if re.fullmatch(r"[A-Za-z]*", before):
            return [Completion(word, "keyword", KEYWORD_DOCS[word]) for word in ast.KEYWORDS]
        statement = self._statement_before(offset)
        keyword = statement.split(maxsplit=1)[0] if statement.split() else ""
        inside = statement.count("{") > statement.count("}")
        if inside and not re.search(r"=[^,\n]*\Z", statement):
            rules = STATION_ATTRIBUTES if keyword in ("input", "layer", "output") else LINE_ATTRIBUTES
            return [Completion(r.name, "attribute", r.doc) for r in rules if keyword in r.kinds]
        if keyword in ("paths", "dense", "skip") and not inside:
            return self._defined("station")
        if keyword in ("input", "layer", "output") and ":" in statement and not inside:
            return [Completion(e.name, "word", e.doc) for e in entries(*STAGE_KINDS, "recurrence")]
        if keyword == "target":
            return [Completion(name, "word", "backend") for name in BACKENDS]
        words = [Completion(e.name, "word", e.doc) for e in entries(*_VALUES)]
        elsewhere = [Completion(name, "let", span.source.name) for name, span in self.lets_elsewhere.items()]
        return [*self._defined("let"), *elsewhere, *(self._defined("line") if inside else []), *words]

    def symbols(self) -> list[Occurrence]:
        """Everything that the text defines."""
        return [one for one in self.names if one.defines]

    def _statement_before(self, offset: int) -> str:
        """The text from the last line that begins a statement up to an offset."""
        starts = [m.start() for m in re.finditer(r"^[A-Za-z]", self.source.text[:offset], re.MULTILINE)]
        return self.source.text[starts[-1] : offset] if starts else ""

    def _defined(self, kind: str) -> list[Completion]:
        return [Completion(one.name, kind, kind) for one in self.names if one.defines and one.kind == kind]

    def _about(self, chosen: Occurrence) -> str:
        if chosen.kind == "station":
            return self._station(chosen.name)
        if chosen.kind == "line":
            return self._line(chosen.name)
        if chosen.kind == "let":
            found = definition(self.names, chosen)
            span = found.span if found else self.lets_elsewhere.get(chosen.name)
            return f"```path\n{span.source.line(span.place.line)}\n```" if span else ""
        if chosen.kind == "attribute":
            rules = (r for r in (*LINE_ATTRIBUTES, *STATION_ATTRIBUTES) if r.name == chosen.name)
            return next((f"`{r.name}`: {r.doc}" for r in rules), "")
        if chosen.kind == "word" and find(chosen.name) is not None:
            return f"```text\n{explain(chosen.name)}```"
        return ""

    def _station(self, name: str) -> str:
        if self.graph is None or all(s.name != name for s in self.graph.stations):
            return f"station `{name}`"
        station = self.graph.station(name)
        stages = "".join(f" | {stage}" for stage in station.pipeline)
        head = f"**{station.role} `{name}`**: {' x '.join(map(str, station.shape))} {station.type}{stages}"
        facts: list[str] = []
        for line in self.graph.lines:
            for j in line.junctions:
                if line.kind == "paths" and line.visits[j].station == name:
                    facts += junction_report(self.analysed, line.name, j)
        return _page(head, station.doc, facts)

    def _line(self, name: str) -> str:
        if self.graph is None or all(line.name != name for line in self.graph.lines):
            return f"line `{name}`"
        line = self.graph.line(name)
        chain = " -> ".join(visit.station for visit in line.visits)
        facts: list[str] = []
        if line.kind == "paths":
            for j in line.junctions:
                facts += junction_report(self.analysed, name, j)
        return _page(f"**{line.kind} `{name}`**: {chain}", line.doc, facts)


def _page(head: str, doc: str, facts: list[str]) -> str:
    parts = [head, doc, "```text\n" + "\n".join(facts) + "\n```" if facts else ""]
    return "\n\n".join(part for part in parts if part)
