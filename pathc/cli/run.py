"""`pathc run`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from pathc.cli.flags import Verb, add_model, add_output, add_pipeline, add_target, add_voice, options_of
from pathc.cli.talk import Talk, put, put_json


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--input", metavar="X", required=True, help=".npy file, [batch, units] or [units]")
    parser.add_argument("--against", metavar="TARGET", choices=("reference",), help="compare with the `reference`")
    add_output(parser, "write the outputs to this .npy file (default: a summary)")
    add_pipeline(parser)
    add_target(parser)
    add_voice(parser, "the summary as one object")


def _run(arguments: argparse.Namespace) -> int:
    from pathc.agreement import compare, disagreement, summary
    from pathc.driver import compile_model, evaluate, save_array

    talk = Talk.of(arguments)
    compiled = compile_model(arguments.file, arguments.target, arguments.weights, options_of(arguments))
    talk.diagnostics(compiled.notes)
    inputs, outputs = evaluate(compiled, arguments.input)
    record: dict[str, object] = {"target": compiled.target.name, **summary(outputs)}
    if arguments.against:
        agreement = compare(compiled, inputs, outputs)
        record["against"] = arguments.against
        record.update(asdict(agreement))
        if not agreement.agrees:
            raise disagreement(compiled, agreement)
    if arguments.output:
        save_array(arguments.output, outputs)
        record["output"] = arguments.output
    if arguments.json:
        put_json(record)
    elif arguments.output:
        talk.say("\n".join(_lines(record)))
    else:
        put("\n".join(_lines(record)) + "\n")
    return 0


def _lines(record: dict[str, object]) -> list[str]:
    width = max(map(len, record))
    return [f"{key.replace('_', ' '):{width}}  {_shown(value)}" for key, value in record.items()]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


VERB = Verb("run", "compute outputs", "Run a model on inputs from a file.", _arguments, _run)
