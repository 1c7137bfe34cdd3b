"""`pathc sample`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathc.cli.flags import Verb, add_model, add_voice, pairs
from pathc.cli.talk import Talk


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--weights", metavar="W", required=True, help=".safetensors or .npz file of the trained net")
    parser.add_argument("--count", metavar="P", type=int, required=True, help="number of paths")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the paths (default: 0)")
    parser.add_argument(
        "-o", "--output", metavar="FILE.pir", required=True,
        help="write the graph; its units and weights beside it as .npz and .safetensors",
    )  # fmt: skip
    add_voice(parser)


def _run(arguments: argparse.Namespace) -> int:
    import io

    import numpy as np

    from pathc.driver import load
    from pathc.ir.compress.paths import sample_paths
    from pathc.ir.text import print_graph
    from pathc.ir.weights import load_weights, save_weights
    from pathc.support.files import write_atomically

    graph = load(arguments.file, pairs("--set", arguments.set))
    target = Path(arguments.output).with_suffix(".pir")
    units = target.with_suffix(".npz")
    result = sample_paths(graph, load_weights(arguments.weights, graph), arguments.count, units.name, arguments.seed)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, units=result.units.astype(np.int32))
    write_atomically(units, buffer.getvalue())
    save_weights(target.with_suffix(".safetensors"), result.tensors)
    write_atomically(target, print_graph(result.graph))
    Talk.of(arguments).say(f"written: {target}; {100 * result.share:.2f}% of the weights are on a path")
    return 0


VERB = Verb(
    "sample",
    "draw paths from a trained net",
    "Draw paths backwards from the outputs of a trained net, by the importance of its weights.",
    _arguments,
    _run,
)
