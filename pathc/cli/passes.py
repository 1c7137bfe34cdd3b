"""`pathc passes`."""

from __future__ import annotations

import argparse

from pathc.cli.flags import Verb, add_voice
from pathc.cli.talk import put


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_voice(parser, "one object per pass")


def _run(arguments: argparse.Namespace) -> int:
    import json

    from pathc.handbook import passes, passes_text

    put("".join(json.dumps(entry) + "\n" for entry in passes()) if arguments.json else passes_text())
    return 0


VERB = Verb("passes", "list the passes", "List the passes with their options.", _arguments, _run)
