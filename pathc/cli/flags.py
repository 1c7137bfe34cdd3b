"""Flags that several verbs share, and what they say."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pathc.support.diagnostics import Diagnostic, UsageError

if TYPE_CHECKING:
    from pathc.driver import Options

LARGEST_BATCH = 1 << 24


@dataclass(frozen=True)
class Verb:
    """One word of the command line; `run` returns the exit code."""

    name: str
    summary: str
    description: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def natural(text: str) -> int:
    """A whole number from 0 on, for argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than 0")
    return number


def duration(text: str) -> float:
    """Seconds, finite and from 0 on, for argparse."""
    seconds = float(text)
    if not 0.0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return seconds


def add_model(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """FILE and `--set`."""
    what = "a .path or .pir file, `-` is standard input"
    if several:
        parser.add_argument("files", metavar="FILE", nargs="+", help=what)
    else:
        parser.add_argument("file", metavar="FILE", help=what)
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="give a `let` another value")


def add_voice(parser: argparse.ArgumentParser, json: str = "") -> None:
    """`-q`, `-v`, and `--json` if `json` says what it prints."""
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more")
    if json:
        parser.add_argument("--json", action="store_true", help=json)


def add_output(parser: argparse.ArgumentParser, what: str) -> None:
    """`-o`."""
    parser.add_argument("-o", "--output", metavar="FILE", help=what)


def add_pipeline(parser: argparse.ArgumentParser) -> None:
    """`-p` and the hooks of the pipeline."""
    group = parser.add_argument_group("passes")
    group.add_argument("-p", "--passes", metavar="PIPELINE", help="passes to run, `name{k=v},...`")
    group.add_argument("--stop-after", metavar="PASS", default="", help="stop behind this pass")
    group.add_argument("--dump-dir", metavar="DIR", help="write the graph after every pass, numbered")
    group.add_argument(
        "--print-after", metavar="PASS", action="append", default=[], help="print the graph after PASS, or `all`"
    )
    group.add_argument("--time-passes", action="store_true", help="say how long every pass took")


def add_target(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """`-t`, `--weights`, `--form`, `--plan` and `--seed`."""
    group = parser.add_argument_group("target")
    what = "llvm, llvm{cpu=avx2}, reference, cuda, tvm-llvm, engine, or the name of a target block (default: llvm)"
    if several:
        group.add_argument("-t", "--target", metavar="TARGET", action="append", default=[], help=what)
    else:
        group.add_argument("-t", "--target", metavar="TARGET", default="llvm", help=what)
    group.add_argument("--weights", metavar="W", help=".safetensors or .npz file (default: initial weights)")
    group.add_argument("--plan", metavar="FILE", default="", help="follow the plans that `--emit plan` wrote to FILE")
    group.add_argument("--seed", metavar="N", type=natural, default=0, help="seed of random initial signs and inputs")
    group.add_argument(
        "--form", metavar="[JUNCTION=]FORM", action="append", default=[],
        help="compute a junction (main.1), or all, by this kernel form",
    )  # fmt: skip


def options_of(arguments: argparse.Namespace) -> Options:
    """The driver's options that the shared flags spell."""
    from pathc.driver import DEFAULT_PIPELINE, Options
    from pathc.ir.pipeline import Hooks

    given = vars(arguments)
    spelt = given.get("passes")
    hooks = Hooks(
        dump_dir=given.get("dump_dir"),
        print_after=frozenset(given.get("print_after", ())),
        stop_after=given.get("stop_after", ""),
        write=sys.stderr.write,
        on_time=_tell_time if given.get("time_passes") else None,
    )
    return Options(
        overrides=pairs("--set", given.get("set", ())),
        pipeline=DEFAULT_PIPELINE if spelt is None else spelt,
        forms=forms(given.get("form", ())),
        plan=given.get("plan", ""),
        seed=given.get("seed", 0),
        hooks=hooks,
    )


def _tell_time(name: str, seconds: float) -> None:
    print(f"{seconds * 1e3:10.3f} ms  {name}", file=sys.stderr)


def pairs(flag: str, items: Sequence[str]) -> dict[str, str]:
    """The NAME=VALUE texts of a flag; E0801 for one that is none."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(Diagnostic("E0801", f"`{flag} {item}` has no name and value", help=f"{flag} NAME=VALUE"))
        if name.strip() in found:
            raise UsageError(Diagnostic("E0801", f"`{flag} {name.strip()}` is given twice", help="leave one out"))
        found[name.strip()] = value.strip()
    return found


def forms(items: Sequence[str]) -> dict[str, str]:
    """Kernel forms by junction; a form alone is that of all junctions (`*`)."""
    return pairs("--form", [item if "=" in item else f"*={item}" for item in items])


def batches(text: str) -> list[int]:
    """The numbers of samples in `1,64`; E0808 for anything else."""
    found: list[int] = []
    for item in text.split(","):
        if not item.strip().isdecimal() or len(item) > 9 or not 1 <= int(item) <= LARGEST_BATCH:
            help = f"numbers from 1 to {LARGEST_BATCH}, joined by commas"
            raise UsageError(Diagnostic("E0808", f"`{item}` is no number of samples", help=help))
        found.append(int(item))
    return found
