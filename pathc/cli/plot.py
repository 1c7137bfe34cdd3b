"""`pathc plot`."""

from __future__ import annotations

import argparse

from pathc.cli.flags import Verb, add_output, add_pipeline, add_voice, natural, options_of
from pathc.cli.talk import put


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kind",
        metavar="KIND",
        help="adjacency, sobol, banks, interleaver, training, accuracy, share, pareto, roofline, pipeline",
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help="a model, or files that `--json` wrote")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="give a `let` another value")
    parser.add_argument("--junction", metavar="J", default="", help="the junction to draw: main.1 (default: the first)")
    parser.add_argument("--patterns", metavar="K,...", default="", help="interleavers: basic, sv, ss+md, type1, ...")
    parser.add_argument("--size", metavar="P", type=int, default=64, help="left units of interleavers (default: 64)")
    parser.add_argument("--fan-out", metavar="N", type=int, default=4, help="fan-out of interleavers (default: 4)")
    parser.add_argument("--lanes", metavar="Z", type=int, default=16, help="memories of interleavers (default: 16)")
    parser.add_argument("--seed", metavar="N", type=natural, default=0, help="seed of interleavers")
    add_output(parser, "draw into this .png, .svg or .pdf (default: as text)")
    add_pipeline(parser)
    add_voice(parser)


def _run(arguments: argparse.Namespace) -> int:
    from pathc.plots import Request, plot_of
    from pathc.viz.figure import check_suffix, save
    from pathc.viz.terminal import show

    if arguments.output:
        check_suffix(arguments.output)
    asked = {"patterns": tuple(arguments.patterns.split(","))} if arguments.patterns else {}
    request = Request(
        files=tuple(arguments.files), junction=arguments.junction, p=arguments.size, fo=arguments.fan_out,
        z=arguments.lanes, seed=arguments.seed, options=options_of(arguments), **asked,
    )  # fmt: skip
    plot = plot_of(arguments.kind, request)
    if arguments.output:
        save(plot, arguments.output)
    else:
        put(show(plot))
    return 0


VERB = Verb("plot", "draw results and patterns", "Draw results and patterns, as text or picture.", _arguments, _run)
