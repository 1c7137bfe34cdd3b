"""`pathc dump`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pathc.cli.flags import Verb, add_model, add_output, add_pipeline, add_target, add_voice, batches, options_of
from pathc.cli.talk import Talk, put
from pathc.support.diagnostics import Diagnostic, UsageError

if TYPE_CHECKING:
    from pathc.driver import Options
    from pathc.support.source import Source

HTML = "html"


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--emit", metavar="KIND", default="pir",
        help="ast, pir, structure, schedule, cost; a picture: svg, dot, matrices, fan, html; "
        "or a stage of the target: plan, ll, asm, ... (default: pir)",
    )  # fmt: skip
    parser.add_argument("--unit", metavar="UNIT", default="", help="the unit whose field `fan` draws: `digits[3]`")
    parser.add_argument("--explain-defaults", action="store_true", help="show every default that was applied")
    parser.add_argument("--batch", metavar="N", default="", help="compile for this many samples")
    parser.add_argument("--beside", metavar="FILE", default="", help="show another model beside, in `html`")
    parser.add_argument("--beside-passes", metavar="PIPELINE", help="the passes of what is shown beside, in `html`")
    add_output(parser, "write to this file")
    add_pipeline(parser)
    add_target(parser)
    add_voice(parser, "JSON instead of text, for the stages that have it")


def _run(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from pathc import gallery
    from pathc.driver import compile_model, emit, read_source
    from pathc.stages import KINDS, defaults, view
    from pathc.support.files import write_atomically
    from pathc.targets import shows

    options, source = options_of(arguments), read_source(arguments.file)
    if arguments.explain_defaults:
        data: str | bytes = defaults(source, options, arguments.json)
    elif arguments.emit in KINDS and (arguments.json or not shows(arguments.target, arguments.emit)):
        data = view(arguments.emit, source, options, arguments.json)
    elif arguments.emit in (*gallery.KINDS, HTML):
        if arguments.json:
            text = f"`{arguments.emit}` is a picture and has no JSON form"
            raise UsageError(Diagnostic("E0804", text, help="use --emit structure"))
        data = _picture(arguments, source, options)
    else:
        options = replace(options, batch=batches(arguments.batch)[0] if arguments.batch else 0)
        compiled = compile_model(source, arguments.target, arguments.weights, options)
        Talk.of(arguments).diagnostics(compiled.executable.notes)
        data = emit(compiled, arguments.emit, (*KINDS, *gallery.KINDS, HTML))
    if arguments.output:
        write_atomically(arguments.output, data)
    else:
        put(data)
    return 0


def _picture(arguments: argparse.Namespace, source: Source, options: Options) -> str:
    from dataclasses import replace

    from pathc import gallery
    from pathc.driver import read_source

    if arguments.emit != HTML:
        return gallery.picture(arguments.emit, source, options, arguments.unit)
    options = replace(options, batch=batches(arguments.batch)[0] if arguments.batch else 0)
    sides = [(source, options)]
    if arguments.beside or arguments.beside_passes is not None:
        other = read_source(arguments.beside) if arguments.beside else source
        passes = options.pipeline if arguments.beside_passes is None else arguments.beside_passes
        sides.append((other, replace(options, pipeline=passes)))
    return gallery.page_of(sides, arguments.target)


VERB = Verb("dump", "look at any stage", "Show a stage of the compilation as text.", _arguments, _run)
