"""`pathc import` and `pathc export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pathc.cli.flags import Verb, add_model, add_voice, pairs
from pathc.cli.talk import Talk


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL.onnx", help="a trained net")
    parser.add_argument("-o", "--output", metavar="FILE.pir", required=True, help="the graph; weights beside it")
    add_voice(parser)


def _import(arguments: argparse.Namespace) -> int:
    from pathc.exchange.onnx_import import import_onnx
    from pathc.ir.text import print_graph
    from pathc.ir.verify import verify
    from pathc.ir.weights import save_weights
    from pathc.support.files import write_atomically

    graph, weights = import_onnx(arguments.model)
    verify(graph)
    target = Path(arguments.output).with_suffix(".pir")
    save_weights(target.with_suffix(".safetensors"), weights)
    write_atomically(target, print_graph(graph))
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
    "import", "bring in an ONNX model", "Turn an ONNX model into a graph and weights.", _import_arguments, _import
)
EXPORT = Verb(
    "export", "hand out an ONNX model", "Write a net as ONNX that any runtime evaluates.", _export_arguments, _export
)
