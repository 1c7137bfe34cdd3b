"""`pathc train`."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pathc.cli.flags import Verb, add_model, add_output, add_voice, pairs
from pathc.cli.talk import Talk, put_json

if TYPE_CHECKING:
    from pathc.train.loop import Watch
    from pathc.train.settings import Settings

INTERRUPTED = 130


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The flags that `train` and `sweep` share."""
    parser.add_argument(
        "--data", metavar="D", required=True,
        help=".npz file (x_train, y_train, x_test, y_test), text (.txt), folder or comma-separated names of IDX files, "
        "or `digits`",
    )  # fmt: skip
    parser.add_argument("--scale", metavar="S", type=float, default=0.0, help="divide integer samples by S")
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", metavar="N", type=int, default=10, help="passes over the data (default: 10)")
    group.add_argument("--batch", metavar="N", type=int, default=64, help="samples of a step (default: 64)")
    group.add_argument("--optimizer", metavar="NAME", default="adam", help="adam, momentum or sgd (default: adam)")
    group.add_argument("--lr", metavar="R", type=float, default=0.0, help="learning rate (default: by optimizer)")
    group.add_argument("--weight-decay", metavar="D", type=float, default=0.0, help="decay of all weights")
    group.add_argument(
        "--schedule", metavar="NAME", default="cosine",
        help="constant, cosine{least=0}, linear{least=0}, step{every=3,times=0.1} (default: cosine)",
    )  # fmt: skip
    group.add_argument("--warmup", metavar="E", type=float, default=0.0, help="epochs of linear rise of the rate")
    group.add_argument("--loss", metavar="NAME", default="", help="cross-entropy or mse (default: by the output)")
    group.add_argument("--goal", metavar="WHAT", default="labels", help="learn to give the `labels`, or the `input`")
    group.add_argument("--sign", metavar="RULE", default="", help="rule of the initial signs (default: the model's)")
    group.add_argument("--magnitude", metavar="F", type=float, default=1.0, help="multiply the initial weights")
    group.add_argument("--fixed-signs", action="store_true", help="weights keep their signs, or become zero")
    group.add_argument("--drop", metavar="N", type=int, default=0, help="leave out a window of N paths in a step")
    group.add_argument("--feedback", metavar="HOW", default="paths", help="errors go back along `paths`, or `direct`")
    group.add_argument("--validation", metavar="SHARE", type=float, default=0.0, help="hold out training samples")
    group.add_argument("--patience", metavar="N", type=int, default=0, help="stop after N epochs without progress")
    group.add_argument(
        "-t", "--target", metavar="TARGET", default="llvm", help="llvm, 'llvm{precision=bf16}' or reference"
    )
    group.add_argument("--threads", metavar="N", type=int, default=1, help="threads, 0 for all cores (default: 1)")


def settings_of(arguments: argparse.Namespace, seed: int) -> Settings:
    """The settings that the flags spell; raises UsageError."""
    from dataclasses import fields

    from pathc.train.settings import Settings

    given = vars(arguments)
    return Settings(**{f.name: given[f.name] for f in fields(Settings) if f.name != "seed"}, seed=seed)


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_output(parser, "write the weights to this .safetensors or .npz file")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument("--weights", metavar="W", default="", help="begin with these, of this or a smaller net")
    parser.add_argument("--grow", metavar="NAME=V,...", default="", help="train with these values of a `let` in turn")
    parser.add_argument("--grown", metavar="HOW", default="zero", help="new paths begin as `zero` or `initial`")
    parser.add_argument("--checkpoint", metavar="C", default="", help="where to keep the state (default: beside -o)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--steps", metavar="N", type=int, default=64, help="cut a text into N characters (default: 64)")
    add_settings(parser)
    add_voice(parser, "one object per epoch on standard output")


def _run(arguments: argparse.Namespace) -> int:
    from pathc.driver import STDIN, read_source
    from pathc.train.data import load_data
    from pathc.train.interrupt import interruptible
    from pathc.train.job import Job, grow_of, run

    talk = Talk.of(arguments)
    settings = settings_of(arguments, arguments.seed)
    job = Job(
        read_source(arguments.file) if arguments.file == STDIN else arguments.file,
        load_data(arguments.data, arguments.scale, arguments.steps),
        settings,
        pairs("--set", arguments.set),
        arguments.sign,
        arguments.weights,
        grow_of(arguments.grow) if arguments.grow else ("", ()),
        arguments.grown,
        arguments.output or "",
        arguments.checkpoint,
        arguments.resume,
    )
    with ExitStack() as open_things:
        watch = _watch(talk, open_things)
        stop = open_things.enter_context(interruptible())
        result = run(job, watch, stop, talk.diagnostics)
    if not result.finished:
        kept = "; go on with --resume" if job.output or job.checkpoint else ""
        talk.say(f"interrupted after {len(result.history)} epochs{kept}")
        return INTERRUPTED
    if job.output:
        talk.say(f"written: {job.output}")
    return 0


def _watch(talk: Talk, open_things: ExitStack) -> Watch:
    """A bar for a terminal, a line per epoch elsewhere, JSON on standard output where it was asked for."""
    from pathc.train.progress import Bar, Lines, summary

    if talk.json:
        return Lines(_put_record)
    if not talk.quiet and sys.stderr.isatty():
        return open_things.enter_context(Bar())
    return Lines(lambda record: talk.say(summary(record)))


def _put_record(record: dict[str, object]) -> None:
    put_json(record)
    sys.stdout.flush()


VERB = Verb("train", "train a model", "Train a model from scratch, or further.", _arguments, _run)
