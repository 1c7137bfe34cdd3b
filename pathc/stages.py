"""The stages of a compilation as text or JSON: what `pathc dump` shows before a target takes over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, cast

from pathc.driver import Options, is_graph_text, load, transform
from pathc.support.diagnostics import Diagnostic, UsageError
from pathc.support.source import Source

if TYPE_CHECKING:
    from pathc.ir.cost import Cost
    from pathc.ir.graph import Graph

Record = dict[str, Any]


def view(kind: str, source: Source, options: Options, as_json: bool = False) -> str:
    """One stage of KINDS as text, or as one line of JSON; ends in a newline.

    Raises as `pathc.driver.load` and `transform`; UsageError E0804 where the stage has no such form.
    """
    text, record = KINDS[kind]
    return json.dumps(record(source, options)) + "\n" if as_json else text(source, options)


def defaults(source: Source, options: Options, as_json: bool = False) -> str:
    """Every default that was applied to a `.path` text, with place and reason."""
    _needs_path(source, "defaults")
    from pathc.frontend import explain_defaults

    applied = explain_defaults(source, options.overrides)
    if as_json:
        return "".join(json.dumps(_record(default)) + "\n" for default in applied)
    return "".join(f"{_default_line(default)}\n" for default in applied)


def _default_line(default: Any) -> str:
    return "  ".join(str(getattr(default, f.name)) for f in fields(default) if getattr(default, f.name) is not None)


def _needs_path(source: Source, what: str) -> None:
    if is_graph_text(source):
        text = f"`{source.name}` is a graph and has no {what}"
        raise UsageError(Diagnostic("E0804", text, help="give the .path file it was made from"))


def _ast(source: Source, options: Options) -> Record:
    _needs_path(source, "syntax tree")
    from pathc.frontend import parse

    return {"statements": [_record(statement) for statement in parse(source).statements]}


def _record(node: Any) -> Any:
    """Dataclasses as dictionaries with their class as `node`, without places; sequences as lists."""
    if is_dataclass(node) and not isinstance(node, type):
        inner = {f.name: _record(getattr(node, f.name)) for f in fields(node) if f.name not in ("span", "depth")}
        return {"node": type(node).__name__, **inner}
    if isinstance(node, tuple | list):
        return [_record(item) for item in cast("list[Any]", node)]
    return node if isinstance(node, bool | int | float | str | None) else str(node)


def _ast_text(source: Source, options: Options) -> str:
    return "".join(f"{line}\n" for statement in _ast(source, options)["statements"] for line in _tree(statement, ""))


def _tree(record: Record, label: str) -> Iterator[str]:
    """A node in one line with its plain fields, and its parts indented below."""
    plain = [
        f"{k}={v!r}"
        for k, v in record.items()
        if k != "node" and not isinstance(v, dict | list) and v not in (None, "")
    ]
    yield " ".join([f"{label}{record['node']}", *plain])
    for key, value in record.items():
        parts = cast("list[Any]", value if isinstance(value, list) else [value])
        for part in parts:
            if isinstance(part, dict):
                yield from (f"  {line}" for line in _tree(cast(Record, part), f"{key}: "))


def _graph(source: Source, options: Options) -> Graph:
    return transform(load(source, options.overrides), options)


def _pir_text(source: Source, options: Options) -> str:
    from pathc.ir.text import print_graph

    return print_graph(_graph(source, options))


def _pir(source: Source, options: Options) -> Record:
    graph = _graph(source, options)
    return cast(Record, _record(graph))


def _structure_text(source: Source, options: Options) -> str:
    from pathc.ir.report import structure_report

    return structure_report(_graph(source, options))


def _structure(source: Source, options: Options) -> Record:
    from pathc.ir.report import structure_json

    return structure_json(_graph(source, options))


def _schedule_text(source: Source, options: Options) -> str:
    from pathc.ir.schedule import schedule_report

    return schedule_report(_graph(source, options))


def _schedule(source: Source, options: Options) -> Record:
    from pathc.ir.schedule import schedule_json

    return schedule_json(_graph(source, options))


def _cost_of(source: Source, options: Options) -> Cost:
    from pathc.ir.cost import cost

    return cost(_graph(source, options))


def _cost(source: Source, options: Options) -> Record:
    return _cost_of(source, options).as_json()


def _cost_text(source: Source, options: Options) -> str:
    found = _cost_of(source, options)
    head = ("line", "kind", "weights", "if dense", "multiply-adds", "bytes")
    rows = [(c.name, c.kind, c.weights, c.weights_dense_equivalent, c.macs, c.bytes) for c in found.lines]
    rows.append(("all", "", found.weights, found.weights_dense_equivalent, found.macs, found.bytes))
    cells = [head, *((row[0], row[1], *(f"{n:,}" for n in row[2:])) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = ["  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
             for row in cells]  # fmt: skip
    norms = f", {found.norms:,} gains and shifts" if found.norms else ""
    extra = f"{found.biases:,} biases, {found.recurrent_weights:,} recurrent weights{norms}; per sample, weights as f32"
    return "\n".join([*(line.rstrip() for line in lines), extra]) + "\n"


KINDS: dict[str, tuple[Callable[[Source, Options], str], Callable[[Source, Options], Record]]] = {
    "ast": (_ast_text, _ast),
    "pir": (_pir_text, _pir),
    "structure": (_structure_text, _structure),
    "schedule": (_schedule_text, _schedule),
    "cost": (_cost_text, _cost),
}
"""Stages that need no target: how each is shown as text and as a dictionary."""
