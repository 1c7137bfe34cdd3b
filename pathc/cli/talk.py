"""What a verb says: data on standard output, everything else on standard error."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from pathc.support.diagnostics import Diagnostic, Severity, UsageError, render


@dataclass(frozen=True)
class Talk:
    """How to speak: quietly (errors alone), in more words, in JSON."""

    quiet: bool = False
    verbose: bool = False
    json: bool = False

    @staticmethod
    def of(arguments: argparse.Namespace) -> Talk:
        """What the flags `-q`, `-v` and `--json` say, where the verb has them."""
        return Talk(*(bool(getattr(arguments, name, False)) for name in ("quiet", "verbose", "json")))

    def diagnostics(self, found: Iterable[Diagnostic]) -> None:
        """Print diagnostics: JSON lines or text with carets; only errors if quiet."""
        for diagnostic in found:
            if self.quiet and diagnostic.severity is not Severity.ERROR:
                continue
            text = diagnostic.as_json() + "\n" if self.json else render(diagnostic, coloured()) + "\n"
            sys.stderr.write(text)
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """One line for the user, unless quiet or in JSON."""
        if not self.quiet and not self.json:
            print(text, file=sys.stderr)

    def more(self, text: str) -> None:
        """One line for a user who asked for more."""
        if self.verbose:
            self.say(text)


def coloured() -> bool:
    """Whether standard error is a terminal that wants colours."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def put_json(*records: object) -> None:
    """Write a line of JSON to standard output for each object; numbers that are not finite are null there."""
    import json

    put("".join(json.dumps(_finite(record)) + "\n" for record in records))


def _finite(value: object) -> object:
    """JSON has no words for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in cast("dict[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in cast("Sequence[object]", value)]
    return value


def put(data: str | bytes) -> None:
    """Write data to standard output; bytes are refused if that is a terminal (E0807)."""
    if isinstance(data, str):
        sys.stdout.write(data)
        return
    if sys.stdout.isatty():
        raise UsageError(Diagnostic("E0807", "this is no text for a terminal", help="name a file with -o"))
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
