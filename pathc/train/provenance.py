"""Where weights come from: hashes of the model and of the run, noted in every file that is written."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from pathc import __version__
from pathc.ir.graph import Graph
from pathc.ir.text import print_graph
from pathc.ir.weights import expected_tensors
from pathc.train.data import Dataset
from pathc.train.settings import Settings

FORMAT = "pathc checkpoint 1"


def model_digest(graph: Graph) -> str:
    """SHA-256 of what a graph computes: its `.pir` text without facts, targets, places and documentation."""
    bare = replace(
        graph,
        stations=tuple(replace(s, doc="", loc=None) for s in graph.stations),
        lines=tuple(
            replace(line, doc="", loc=None, visits=tuple(replace(v, loc=None) for v in line.visits))
            for line in graph.lines
        ),
        targets=(),
        facts=(),
        doc="",
        loc=None,
    )
    return hashlib.sha256(print_graph(bare).encode()).hexdigest()


def provenance(graph: Graph, dataset: Dataset, settings: Settings) -> dict[str, str]:
    """What a file of trained weights says of its origin."""
    return {
        "pathc": __version__,
        "model": graph.name,
        "model_sha256": model_digest(graph),
        "data": Path(dataset.name).name,
        "data_sha256": dataset.digest,
        "input_scale": repr(dataset.divisor("x_train")),
        "seed": str(settings.seed),
        "settings": settings.as_json(),
        "tensors": str(len(expected_tensors(graph))),
    }
