"""`pathc normalize`."""

from __future__ import annotations

import argparse

from pathc.cli.flags import Verb, add_model, add_voice, pairs
from pathc.cli.talk import Talk


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--weights", metavar="W", required=True, help=".safetensors or .npz file of the trained net")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="write the normalized tensors")
    parser.add_argument("--outputs", action="store_true", help="normalize outputs too; their factors become metadata")
    add_voice(parser)


def _run(arguments: argparse.Namespace) -> int:
    import json

    from pathc.driver import load
    from pathc.ir.compress.normalize import normalize
    from pathc.ir.weights import load_weights, save_weights

    graph = load(arguments.file, pairs("--set", arguments.set))
    result = normalize(graph, load_weights(arguments.weights, graph), arguments.outputs)
    factors = {name: values.tolist() for name, values in result.factors.items()}
    save_weights(arguments.output, result.tensors, metadata={"output_factors": json.dumps(factors)})
    Talk.of(arguments).say(f"written: {arguments.output}")
    return 0


VERB = Verb(
    "normalize",
    "scale weights to norm 1",
    "Give the weights into every hidden unit the l1 norm 1, feeding the norms forward; outputs stay the same.",
    _arguments,
    _run,
)
