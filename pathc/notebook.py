"""Nets and results in Jupyter.

%load_ext pathc.notebook
pathc.load("model.path")                     # the metro map

from pathc import notebook
notebook.passes("model.path")                # the page with the slider, in a frame
notebook.report("model.path")                # the structure found
notebook.table(rows)                         # figures of a bench or a sweep
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from html import escape
from typing import Any, cast

from pathc.api import Input, load
from pathc.driver import DEFAULT_PIPELINE, Options, read_source, transform
from pathc.ir.graph import Graph
from pathc.support.source import Source


@dataclass(frozen=True)
class Html:
    """Something that a notebook shows as HTML; `text` is what a terminal shows."""

    html: str
    text: str = ""

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text or f"<page of {len(self.html)} characters>"


def report(model: Input, pipeline: str = DEFAULT_PIPELINE) -> Html:
    """The structure of a model as text; raises as `pathc.load` and the passes."""
    from pathc.ir.report import structure_report

    text = structure_report(transform(load(model), Options(pipeline=pipeline)))
    return Html(f"<pre>{escape(text)}</pre>", text)


def dump(model: Input, pipeline: str = DEFAULT_PIPELINE) -> Html:
    """The graph after the passes as `.pir` text."""
    from pathc.ir.text import print_graph

    text = print_graph(transform(load(model), Options(pipeline=pipeline)))
    return Html(f"<pre>{escape(text)}</pre>", text)


def passes(model: str | Source, pipeline: str = DEFAULT_PIPELINE, target: str = "llvm") -> Html:
    """The page of all passes in a frame of its own."""
    from pathc.gallery import page_of

    source = model if isinstance(model, Source) else read_source(model)
    page = page_of([(source, Options(pipeline=pipeline))], target)
    return Html(f'<iframe srcdoc="{escape(page)}" style="width:100%;height:640px;border:0"></iframe>')


def table(rows: Sequence[Any]) -> Html:
    """Rows of a bench or a sweep, or dictionaries such as `--json` prints, as a table."""
    records = [_record(row) for row in rows]
    names = list(dict.fromkeys(name for record in records for name in record))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(record.get(n))}</td>' for n in names)}</tr>" for record in records)
    text = "\n".join("  ".join(f"{name}={record.get(name)}" for name in names) for record in records)
    return Html(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", text)


def load_ipython_extension(shell: Any) -> None:
    """Let graphs and models draw themselves and rows of a bench become tables: `%load_ext pathc.notebook`."""
    formatters = shell.display_formatter.formatters
    formatters["image/svg+xml"].for_type_by_name("pathc.ir.graph", "Graph", picture)
    formatters["image/svg+xml"].for_type_by_name("pathc.frontend.builder", "Model", picture)
    formatters["text/html"].for_type_by_name("pathc.bench.harness", "Row", _row)
    formatters["text/html"].for_type_by_name("pathc.train.results", "Row", _row)


def picture(model: Input) -> str:
    """The metro map of a model as SVG, with the blocks that the default passes find."""
    from pathc.viz.metro import metro

    graph: Graph = load(model)
    return metro(graph if graph.facts else transform(graph))


def _row(row: Any) -> str:
    return table([row]).html


def _record(row: Any) -> dict[str, Any]:
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else dict(cast("dict[str, Any]", row))


def _cell(value: Any) -> str:
    return escape(f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value))
