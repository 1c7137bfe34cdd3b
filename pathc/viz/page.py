"""One HTML page that needs nothing else: the passes of a compilation with maps, dumps and what each of them changed."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pathc.ir.graph import Graph
from pathc.ir.text import print_graph
from pathc.support.diagnostics import PathcError
from pathc.viz.metro import metro

_PLACE = re.compile(r"  loc (.*?):(\d+):\d+(?: at [\d:_ ]+)?(?=  #|$| \{$)")


@dataclass(frozen=True)
class Side:
    """One compilation: its title, source text, the graph after every pass by name, facts and kernel plan as text."""

    title: str
    file: str
    source: str
    stages: Sequence[tuple[str, Graph]]
    facts: str
    plan: str


def page(title: str, sides: Sequence[Side]) -> str:
    """The page with one compilation, or several side by side; no text of a model can leave its place."""
    record = {"title": title, "sides": [_record(side) for side in sides]}
    data = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    safe = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    template = files("pathc.viz").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("DATA", safe, 1)


def changes(before: Sequence[str], after: Sequence[str]) -> list[tuple[str, str]]:
    """Lines of two texts with ` `, `+` or `-` in front: what stayed, what came, what went."""
    found: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            found += [(" ", line) for line in after[c:d]]
        else:
            found += [("-", line) for line in before[a:b]]
            found += [("+", line) for line in after[c:d]]
    return found


def _record(side: Side) -> dict[str, Any]:
    stages: list[dict[str, Any]] = []
    before: list[str] | None = None
    for name, graph in side.stages:
        after = print_graph(graph).splitlines()
        marked = changes(after if before is None else before, after)
        lines = [(mark, *_split(line, side.file)) for mark, line in marked]
        stages.append({"name": name, "map": _map(graph), "lines": lines})
        before = after
    return {
        "title": side.title,
        "source": side.source.splitlines(),
        "stages": stages,
        "facts": side.facts.splitlines(),
        "plan": side.plan.splitlines(),
    }


def _split(line: str, file: str) -> tuple[str, int]:
    """A line of a dump without its place, and the line of the source it was made from, 0 if there is none."""
    match = _PLACE.search(line)
    if match is None:
        return line, 0
    kept = line[: match.start()] + line[match.end() :]
    return kept, int(match[2]) if match[1].strip('"') == file else 0


def _map(graph: Graph) -> str:
    """The map, or why there is none."""
    try:
        return metro(graph)
    except PathcError as refusal:
        return f"<p>{refusal.diagnostics[0].code}</p>"
