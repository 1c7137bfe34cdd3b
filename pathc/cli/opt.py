"""`pathc opt`."""

from __future__ import annotations

import argparse

from pathc.cli.flags import Verb, add_model, add_output, add_pipeline, add_voice, options_of
from pathc.cli.talk import put


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_output(parser, "write to this file")
    add_pipeline(parser)
    add_voice(parser)


def _run(arguments: argparse.Namespace) -> int:
    from pathc.driver import read_source
    from pathc.stages import view
    from pathc.support.files import write_atomically

    text = view("pir", read_source(arguments.file), options_of(arguments))
    if arguments.output:
        write_atomically(arguments.output, text)
    else:
        put(text)
    return 0


VERB = Verb("opt", "run passes on a graph", "Run passes on a .pir graph and print what comes out.", _arguments, _run)
