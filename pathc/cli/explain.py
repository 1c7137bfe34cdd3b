"""`pathc explain`."""

from __future__ import annotations

import argparse

from pathc.cli.flags import Verb, add_voice
from pathc.cli.talk import put


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "topic", metavar="TOPIC", nargs="?", default="",
        help="a code such as E0203, a word of the language, or codes, forms, passes, targets, words",
    )  # fmt: skip
    add_voice(parser)


def _run(arguments: argparse.Namespace) -> int:
    from pathc.handbook import explain

    put(explain(arguments.topic))
    return 0


VERB = Verb("explain", "say more about a code or a word", "Explain a diagnostic code or a word.", _arguments, _run)
