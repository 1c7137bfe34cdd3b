"""`pathc quantize`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pathc.cli.flags import Verb, add_model, add_output, add_voice, natural, pairs
from pathc.cli.talk import Talk, put, put_json
from pathc.support.diagnostics import Diagnostic, Severity

if TYPE_CHECKING:
    from pathc.ir.compress.report import Report

METHODS = ("mc", "int8", "int4", "ternary", "bf16")
SAMPLINGS = ("systematic", "stratified", "sobol", "independent")


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--weights", metavar="W", required=True, help=".safetensors or .npz file of the trained net")
    add_output(parser, "write integer tensors with their scales; with --data also the graph, beside it as .pir")
    group = parser.add_argument_group("numbers")
    group.add_argument("--method", choices=METHODS, default="int8", help="how weights are quantized (default: int8)")
    group.add_argument(
        "--samples", metavar="K", type=float, default=1.0, help="samples a weight: mc, ternary (default: 1)"
    )
    group.add_argument("--sampling", choices=SAMPLINGS, default="systematic", help="where the samples lie")
    group.add_argument("--per", choices=("tensor", "unit"), default="tensor", help="what shares a scale")
    group.add_argument("--scales", choices=("any", "power"), default="any", help="`power`: powers of two alone")
    group.add_argument("--seed", metavar="N", type=natural, default=0, help="seed of the samples (default: 0)")
    group = parser.add_argument_group("calibration")
    group.add_argument("--data", metavar="D", help="data set: calibrate on its training samples, test on its others")
    group.add_argument("--scale", metavar="S", type=float, default=0.0, help="divide integer samples by S")
    group.add_argument("--calibrate", metavar="N", type=int, default=1000, help="samples used (default: 1000)")
    group.add_argument("--quantile", metavar="Q", type=float, default=1.0, help="share of activations kept in range")
    group.add_argument("--keep-biases", action="store_true", help="leave shifts of the means of sums as they are")
    add_voice(parser, "the report as one object")


def _run(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict
    from pathlib import Path

    from pathc.driver import load
    from pathc.ir.compress.quantize import for_integers, quantize
    from pathc.ir.compress.report import report
    from pathc.ir.compress.tensors import Settings
    from pathc.ir.interp.junctions import float_tensors
    from pathc.ir.quantized.extents import beyond_integers
    from pathc.ir.sequences import takes_sequences
    from pathc.ir.text import print_graph
    from pathc.ir.weights import load_weights, save_weights
    from pathc.support.files import check_apart, write_atomically
    from pathc.train.accuracy import compiled_forward, compiled_integers
    from pathc.train.data import load_data
    from pathc.train.samples import split_for

    talk = Talk.of(arguments)
    if arguments.output and arguments.data:
        check_apart(Path(arguments.output), (".pir",), [arguments.file])
    graph = load(arguments.file, pairs("--set", arguments.set))
    weights = load_weights(arguments.weights, graph)
    settings = Settings(
        arguments.method, arguments.samples, arguments.sampling, arguments.per, arguments.scales, arguments.seed,
        arguments.quantile, not arguments.keep_biases,
    )  # fmt: skip
    split = split_for(graph, load_data(arguments.data, arguments.scale)) if arguments.data else None
    few = slice(max(arguments.calibrate, 0))
    spread = not takes_sequences(graph) and any(len(station.shape) > 1 for station in graph.stations)
    refused = beyond_integers(for_integers(graph, float_tensors(graph, weights))[0]) if split and spread else []
    rows = split.train.inputs(few) if split is not None and not refused else None
    result = quantize(graph, weights, settings, rows)
    test = (split.test or split.train) if split is not None else None
    rows, labels = (test.inputs(slice(None)), test.labels) if test else (None, None)
    found = report(graph, weights, result, rows, labels, run=compiled_forward, integers=compiled_integers)
    if arguments.output:
        dtype = "bfloat16" if settings.method == "bf16" else None
        save_weights(arguments.output, result.tensors, metadata={"quantized": repr(settings)}, dtype=dtype)
        if result.calibrated:
            write_atomically(Path(arguments.output).with_suffix(".pir"), print_graph(result.graph))
    talk.diagnostics([*map(_floats, refused[:1]), *result.notes])
    if arguments.json:
        put_json(asdict(found))
    else:
        put(_text(found))
    return 0


def _floats(refused: Diagnostic) -> Diagnostic:
    """The note that data measures quantized weights in floats alone, and why."""
    text = f"stations are not calibrated, the data measures quantized weights in floats: {refused.message}"
    return Diagnostic("W1303", text, refused.place, help=refused.help, severity=Severity.NOTE)


def _text(found: Report) -> str:
    lines = [f"{'tensor':16} {'weights':>10} {'bits':>5} {'not zero':>9} {'error':>9}"]
    for each in found.tensors:
        error = f"{each.error:9.4f}" if each.error >= 0 else f"{'':9}"
        lines.append(f"{each.name:16} {each.weights:10,} {each.bits:5} {100 * each.nonzero:8.2f}% {error}".rstrip())
    lines.append(f"average bits {found.bits:.2f}, weights hit {100 * found.nonzero:.2f}%")
    if found.accuracy_floats >= 0:
        parts = [f"floats {found.accuracy_floats:.2f}%", f"quantized weights {found.accuracy_weights:.2f}%"]
        parts += [f"integers {found.accuracy_integers:.2f}%"] if found.accuracy_integers >= 0 else []
        lines.append(f"accuracy: {', '.join(parts)}")
    return "\n".join(lines) + "\n"


VERB = Verb(
    "quantize",
    "turn trained weights into integers",
    "Quantize a trained net without training. With --data, stations are calibrated for integer arithmetic.",
    _arguments,
    _run,
)
