"""The command line: one verb a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pathc.cli.interrupt import INTERRUPTED, noticed, pressed, settle


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pathc` with these arguments (those of the process if None); returns the exit code.

    Ctrl-C counts from here on: importing takes most of the time of a short command.
    """
    try:
        with noticed():
            from pathc.cli.application import run

            code = run(sys.argv[1:] if arguments is None else arguments)
    except (Exception, KeyboardInterrupt) as end:
        if not pressed() and not isinstance(end, KeyboardInterrupt):
            raise
        sys.stderr.write("interrupted\n")
        code = INTERRUPTED
    if pressed():
        settle()
    return code
