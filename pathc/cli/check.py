"""`pathc check`."""

from __future__ import annotations

import argparse

from pathc.cli.flags import Verb, add_model, add_voice, pairs
from pathc.cli.talk import Talk, put


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, several=True)
    add_voice(parser, "one object per diagnostic on standard output")


def _run(arguments: argparse.Namespace) -> int:
    from pathc.driver import check
    from pathc.support.diagnostics import PathcError, Severity, UsageError

    talk, code = Talk.of(arguments), 0
    overrides = pairs("--set", arguments.set)
    for name in arguments.files:
        try:
            found = check(name, overrides)
        except UsageError:
            raise
        except PathcError as mistake:
            found = list(mistake.diagnostics)
        if arguments.json:
            put("".join(f"{d.as_json()}\n" for d in found))
        else:
            talk.diagnostics(found)
        count = {severity: sum(d.severity is severity for d in found) for severity in Severity}
        if count[Severity.ERROR]:
            code = 1
            continue
        warnings = count[Severity.WARNING]
        talk.say(f"{name}: correct" + (f", {warnings} warning{'s' * (warnings > 1)}" if warnings else ""))
    return code


VERB = Verb(
    "check", "parse, check, lint", "Say everything that is wrong with a model, or merely odd.", _arguments, _run
)
