from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

from pathc.ir.text import parse_graph, print_graph
from pathc.ir.verify import RULES, verify
from pathc.support.source import Source

DOCUMENT = Path(__file__).parents[2] / "docs" / "ir.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_python_blocks_run_one_after_the_other(monkeypatch):
    page = ModuleType("ir_documentation")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    for block in blocks("python"):
        exec(compile(block, str(DOCUMENT), "exec"), vars(page))
    assert hasattr(page, "UnrollAll")


def test_pir_blocks_are_read_and_canonical():
    (block,) = blocks("pir")
    graph = parse_graph(Source("ir.md", block))
    verify(graph)
    assert print_graph(graph) == block


def test_table_names_every_rule_in_order():
    assert re.findall(r"^\| ([a-z-]+) \| E", TEXT, re.MULTILINE) == [rule.name for rule in RULES]
