from __future__ import annotations

from nets import net

from pathc.ir.passes import NAMES, parse_pipeline
from pathc.ir.pipeline import run_passes
from pathc.ir.text import parse_graph, print_graph
from pathc.support.source import Source


def test_facts_of_all_passes_verify_and_survive_their_text():
    graph = run_passes(net((784, 256, 64, 10), range(4), 1536), parse_pipeline(",".join(NAMES)))
    assert {type(f).__name__ for f in graph.facts} == {
        "Blocks", "Distinct", "Bicliques", "Valence", "Mixing", "Bank", "Order"
    }  # fmt: skip
    text = print_graph(graph)
    again = parse_graph(Source("net.pir", text))
    assert again == graph
    assert print_graph(again) == text
