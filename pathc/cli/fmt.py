"""`pathc fmt`."""

from __future__ import annotations

import argparse

from pathc.cli.flags import Verb, add_voice
from pathc.cli.talk import Talk, put


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help=".path or .pir files; `-` goes to standard output")
    parser.add_argument("--check", action="store_true", help="write nothing, list files that would change")
    add_voice(parser)


def _run(arguments: argparse.Namespace) -> int:
    from pathc.driver import STDIN, formatted, read_source
    from pathc.support.files import write_atomically

    talk, code = Talk.of(arguments), 0
    for name in arguments.files:
        source = read_source(name)
        text = formatted(source)
        if arguments.check:
            if text != source.text:
                put(f"{name}\n")
                code = 1
        elif name == STDIN:
            put(text)
        elif text != source.text:
            write_atomically(name, text)
            talk.say(f"{name}: written anew")
    return code


VERB = Verb(
    "fmt", "bring files to their one layout", "Lay programs out as everybody does; comments stay.", _arguments, _run
)
