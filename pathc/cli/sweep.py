"""`pathc sweep`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pathc.cli.flags import Verb, add_voice, natural
from pathc.cli.talk import Talk, put, put_json
from pathc.cli.train import INTERRUPTED, add_settings, settings_of

if TYPE_CHECKING:
    from pathc.train.cells import Cell


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help=".path files; dense ones are the baseline")
    parser.add_argument("--set", metavar="NAME=V,...", action="append", default=[], help="values of a `let`")
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder of the results")
    parser.add_argument("--seeds", metavar="N", type=int, default=1, help="train with the seeds 0 to N-1 (default: 1)")
    parser.add_argument("--seed-into", metavar="NAME", default="", help="give the seed to this `let`, too")
    parser.add_argument("--jobs", metavar="N", type=natural, default=0, help="processes (default: one a core)")
    parser.add_argument("--scheduler", metavar="S", default="", help="address of a Dask scheduler, or `local`")
    parser.add_argument("--plot", metavar="P", default="", help="draw accuracy over paths into this .svg, .png or .pdf")
    add_settings(parser)
    add_voice(parser, "one object per net on standard output")


def _run(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from pathc.support.diagnostics import Diagnostic, PathcError, UsageError
    from pathc.train.cells import grid
    from pathc.train.interrupt import interruptible
    from pathc.train.job import values_of
    from pathc.train.results import rows_of, table, write_results
    from pathc.train.sweep import sweep
    from pathc.viz.figure import check_suffix, save
    from pathc.viz.results import accuracy

    talk = Talk.of(arguments)
    if not 1 <= arguments.seeds <= 1 << 16:
        raise UsageError(Diagnostic("E0914", f"{arguments.seeds} seeds cannot be trained with", help="1 to 65536"))
    if arguments.plot:
        check_suffix(arguments.plot)
    cells = grid(
        arguments.files,
        values_of("--set", arguments.set),
        [settings_of(arguments, seed) for seed in range(arguments.seeds)],
        data=arguments.data,
        scale=arguments.scale,
        sign=arguments.sign,
        folder=arguments.output,
        seed_into=arguments.seed_into,
    )
    with interruptible() as stop:
        records = sweep(
            cells, jobs=arguments.jobs, scheduler=arguments.scheduler, stop=stop,
            tell=lambda cell, record, left: talk.say(_line(cell, record, left)),
        )  # fmt: skip
    rows = rows_of(records)
    write_results(arguments.output, records)
    if arguments.json:
        put_json(*map(asdict, rows))
    else:
        put(table(rows))
    if arguments.plot:
        save(accuracy([asdict(row) for row in rows]), arguments.plot)
    if len(records) < len(cells):
        talk.say(f"interrupted: {len(records)} of {len(cells)} cells are finished; the same command goes on")
        return INTERRUPTED
    failed = [record for record in records if record.get("errors")]
    if failed:
        first = failed[0]["errors"][0]
        text = f"{len(failed)} of {len(cells)} cells failed"
        found = Diagnostic("E0917", text, help="see `errors` in the files of the folder `cells`")
        raise PathcError(found.note(f"the first: {first['code']}: {first['message']}"))
    return 0


def _line(cell: Cell, record: dict[str, Any], left: int) -> str:
    if record.get("errors"):
        return f"{cell.label}: {record['errors'][0]['code']}, {left} left"
    last = record["history"][-1]
    accuracy = last["test_accuracy"]
    figure = f"{accuracy:.2%}" if accuracy is not None else f"loss {last['loss']:.4f}"
    return f"{cell.label}: {figure}, {left} left"


VERB = Verb("sweep", "train a grid of models", "Train models over values and seeds; compare them.", _arguments, _run)
