"""What notebooks show."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from types import SimpleNamespace
from typing import Any

import pathc
from pathc import notebook
from pathc.frontend.builder import Model
from pathc.support.source import Source

MODEL = "examples/unequal.path"


class Formatter:
    """Stands for a formatter of IPython."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Any] = {}

    def for_type_by_name(self, module: str, name: str, show: Any) -> None:
        self.known[module, name] = show

    def show(self, value: Any) -> str:
        return self.known[type(value).__module__, type(value).__name__](value)


def test_graphs_draw_themselves() -> None:
    formatters = {"image/svg+xml": Formatter(), "text/html": Formatter()}
    notebook.load_ipython_extension(SimpleNamespace(display_formatter=SimpleNamespace(formatters=formatters)))
    drawn = formatters["image/svg+xml"].show(pathc.load(MODEL))
    ET.fromstring(drawn)
    assert "16 dense blocks of 4 x 16" in drawn
    assert (Model.__module__, Model.__name__) in formatters["image/svg+xml"].known
    from pathc.bench.harness import Row as Measured
    from pathc.train.results import Row as Swept

    for kind in (Measured, Swept):
        assert (kind.__module__, kind.__name__) in formatters["text/html"].known


def test_reports_and_dumps() -> None:
    assert "16 dense blocks of 4 x 16" in notebook.report(MODEL)._repr_html_()
    assert "-&gt;" in notebook.dump(MODEL)._repr_html_()
    assert repr(notebook.dump(MODEL)).startswith("pir 1")


def test_the_page_is_framed_and_escaped() -> None:
    framed = notebook.passes(MODEL)
    assert framed._repr_html_().count('"') == 4
    assert "page of" in repr(framed)


def test_tables() -> None:
    made = notebook.table([{"model": "<b>", "gflops": 1.23456}, {"model": "m", "peers": None}])
    assert "<td>&lt;b&gt;</td><td>1.235</td><td></td>" in made._repr_html_()
    assert "gflops=1.23456" in repr(made)


def test_a_text_in_memory() -> None:
    text = "pathc 1\nmodel m\ninput x[2]\noutput y[2]\ndense d : x -> y\n"
    assert "dense d: x to y" in notebook.picture(Source("m.path", text))
