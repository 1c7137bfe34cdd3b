"""`pathc import` and `pathc export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathc.cli.flags import Verb, add_model, add_voice, pairs
from pathc.cli.talk import Talk

ACTIVATIONS = ("relu", "tanh", "sigmoid", "abs", "identity")


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    what = "a trained net: .onnx, or a state dictionary of PyTorch, .safetensors, .pt or .pth"
    parser.add_argument("model", metavar="MODEL", help=what)
    what = "what stands behind the linear layers of a state dictionary, the last one excepted (default: relu)"
    parser.add_argument("--activation", metavar="NAME", default="relu", choices=ACTIVATIONS, help=what)
    parser.add_argument("-o", "--output", metavar="FILE.pir", required=True, help="the graph; weights beside it")
    add_voice(parser)


def _import(arguments: argparse.Namespace) -> int:
    from pathc.exchange.onnx_import import import_onnx
    from pathc.exchange.states import SUFFIXES, import_state
    from pathc.ir.text import print_graph
    from pathc.ir.verify import verify
    from pathc.ir.weights import save_weights
    from pathc.support.files import check_apart, graph_file, write_atomically

    target = graph_file(arguments.output)
    check_apart(target, (".safetensors",), [arguments.model])
    state = Path(arguments.model).suffix in SUFFIXES
    graph, weights = import_state(arguments.model, arguments.activation) if state else import_onnx(arguments.model)
    verify(graph)
    save_weights(target.with_suffix(".safetensors"), weights)
    write_atomically(target, print_graph(graph))
    if state:
        Talk.of(arguments).say(
            f"a state dictionary names no activations: `{arguments.activation}` between linear layers"
        )
    Talk.of(arguments).say(f"written: {target} and {target.with_suffix('.safetensors').name}")
    return 0


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--weights", metavar="W", required=True, help=".safetensors or .npz file of the net")
    parser.add_argument("--onnx", metavar="FILE", required=True, help="write this .onnx file")
    add_voice(parser)


def _export(arguments: argparse.Namespace) -> int:
    from pathc.driver import load, stored_weights
    from pathc.exchange.onnx_export import export_onnx
    from pathc.support.files import write_atomically

    graph = load(arguments.file, pairs("--set", arguments.set))
    write_atomically(arguments.onnx, export_onnx(graph, stored_weights(graph, arguments.weights)))
    Talk.of(arguments).say(f"written: {arguments.onnx}")
    return 0


IMPORT = Verb(
    "import",
    "bring in a trained net",
    "Turn an ONNX model or a state dictionary into a graph and weights.",
    _import_arguments,
    _import,
)
EXPORT = Verb(
    "export", "hand out an ONNX model", "Write a net as ONNX that any runtime evaluates.", _export_arguments, _export
)
