"""`pathc sample`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathc.cli.flags import Verb, add_model, add_voice, natural, pairs
from pathc.cli.talk import Talk, put, put_json
from pathc.support.diagnostics import Diagnostic, UsageError

if TYPE_CHECKING:
    from pathc.ir.compress.paths import SampledPaths
    from pathc.ir.graph import Graph
    from pathc.ir.weights import Tensors


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--weights", metavar="W", required=True, help=".safetensors or .npz file of the trained net")
    parser.add_argument("--count", metavar="P[,P...]", required=True, help="number of paths, several with --data")
    parser.add_argument("--seed", metavar="N", type=natural, default=0, help="seed of the paths (default: 0)")
    parser.add_argument(
        "-o", "--output", metavar="FILE.pir", default="",
        help="write the graph; its units and weights beside it as .npz and .safetensors",
    )  # fmt: skip
    group = parser.add_argument_group("accuracy over the share of weights that are on a path")
    group.add_argument("--data", metavar="D", help="data set: measure every count, and the net, on its test samples")
    group.add_argument("--scale", metavar="S", type=float, default=0.0, help="divide integer samples by S")
    add_voice(parser, "an object a line, for `pathc plot share`")


def _run(arguments: argparse.Namespace) -> int:
    from pathc.driver import load
    from pathc.ir.compress.paths import sample_paths
    from pathc.ir.weights import load_weights
    from pathc.support.files import check_apart, graph_file

    counts = _counts(arguments.count)
    if not arguments.data and (not arguments.output or len(counts) > 1):
        text = "there is nothing to do with the paths" if not arguments.output else "one net can be written at a time"
        raise UsageError(Diagnostic("E0804", text, help="name one count and a file with -o, or measure with --data"))
    target = graph_file(arguments.output) if arguments.output else None
    if target is not None:
        check_apart(target, (".pir", ".npz", ".safetensors"), [arguments.file, arguments.weights])
    graph = load(arguments.file, pairs("--set", arguments.set))
    weights = load_weights(arguments.weights, graph)
    if arguments.data:
        _measure(graph, weights, counts, arguments)
    if target is not None:
        result = sample_paths(graph, weights, counts[-1], target.with_suffix(".npz").name, arguments.seed)
        _write(result, target)
        Talk.of(arguments).say(f"written: {target}; {100 * result.share:.2f}% of the weights are on a path")
    return 0


def _counts(text: str) -> list[int]:
    """The numbers of paths asked for."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 12 for part in parts):
        raise UsageError(Diagnostic("E0804", f"`{text}` are no numbers of paths", help="--count 1000,4000,16000"))
    return [int(part) for part in parts]


def _write(result: SampledPaths, target: Path) -> None:
    from pathc.ir.compress.paths import write_units
    from pathc.ir.text import print_graph
    from pathc.ir.weights import save_weights
    from pathc.support.files import write_atomically

    write_units(result, target.parent)
    save_weights(target.with_suffix(".safetensors"), result.tensors)
    write_atomically(target, print_graph(result.graph))


def _measure(graph: Graph, weights: Tensors, counts: list[int], arguments: argparse.Namespace) -> None:
    """Print what nets of so many paths reach, and the net they come from."""
    import tempfile

    from pathc.ir.compress.paths import sample_paths, write_units
    from pathc.ir.compress.report import accuracy_of
    from pathc.train import load_data
    from pathc.train.accuracy import compiled_forward
    from pathc.train.samples import split_for

    split = split_for(graph, load_data(arguments.data, arguments.scale))
    test = split.test or split.train
    labels = test.labels
    if labels is None:
        text = f"`{arguments.data}` has no labels, so there is no accuracy to measure"
        raise UsageError(Diagnostic("E0804", text, help="give samples with labels"))
    started = False

    def show(paths: int, share: float, reached: float) -> None:
        found: dict[str, Any] = {"model": graph.name, "paths": paths, "share": share, "accuracy": reached}
        nonlocal started
        if not started and not arguments.json:
            put(f"{'paths':>12} {'on a path':>10} {'accuracy':>9}\n")
        started = True
        line = f"{f'{paths:,}' if paths else 'the net':>12} {100 * share:9.2f}% {reached:8.2f}%"
        if arguments.json:
            put_json(found)
        else:
            put(line + "\n")

    with tempfile.TemporaryDirectory() as folder:
        for number, count in enumerate(counts):
            units = Path(folder) / f"{number}.npz"
            result = sample_paths(graph, weights, count, str(units), arguments.seed)
            write_units(result)
            reached = accuracy_of(result.graph, result.tensors, test.rows, labels, compiled_forward)
            show(count, result.share, reached)
    show(0, 1.0, accuracy_of(graph, weights, test.rows, labels, compiled_forward))


VERB = Verb(
    "sample",
    "draw paths from a trained net",
    "Draw paths backwards from the outputs of a trained net, by the importance of its weights.",
    _arguments,
    _run,
)
