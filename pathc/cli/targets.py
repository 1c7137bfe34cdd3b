"""`pathc targets`."""

from __future__ import annotations

import argparse

from pathc.cli.flags import Verb, add_voice
from pathc.cli.talk import put


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_voice(parser, "one object per target")


def _run(arguments: argparse.Namespace) -> int:
    import json

    from pathc.handbook import targets, targets_text

    put("".join(json.dumps(entry) + "\n" for entry in targets()) if arguments.json else targets_text())
    return 0


VERB = Verb("targets", "list the targets", "List the targets, and which of them work here.", _arguments, _run)
