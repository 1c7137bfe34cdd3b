"""The command line: one verb a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pathc` with these arguments (those of the process if None); returns the exit code."""
    from pathc.cli.application import run

    return run(sys.argv[1:] if arguments is None else arguments)
