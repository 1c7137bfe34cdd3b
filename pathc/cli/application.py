"""Reading the arguments, running a verb, and turning whatever goes wrong into an exit code."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence

from pathc import __version__
from pathc.cli import (
    bench,
    check,
    compile,
    dump,
    exchange,
    explain,
    fmt,
    lsp,
    normalize,
    opt,
    passes,
    plot,
    quantize,
    sample,
    sim,
    sweep,
    targets,
    train,
)
from pathc.cli import run as run_verb
from pathc.cli.flags import Verb
from pathc.cli.interrupt import INTERRUPTED, pressed
from pathc.cli.talk import Talk
from pathc.support.diagnostics import Diagnostic, InternalError, PathcError

VERBS: tuple[Verb, ...] = (
    check.VERB,
    fmt.VERB,
    dump.VERB,
    compile.VERB,
    run_verb.VERB,
    bench.VERB,
    train.VERB,
    sweep.VERB,
    plot.VERB,
    quantize.VERB,
    lsp.VERB,
    normalize.VERB,
    sample.VERB,
    sim.VERB,
    exchange.IMPORT,
    exchange.EXPORT,
    opt.VERB,
    explain.VERB,
    passes.VERB,
    targets.VERB,
)

OK, WRONG_MODEL, WRONG_USAGE, UNAVAILABLE, INTERNAL = 0, 1, 2, 3, 70
PIPE_CLOSED = 141
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_EPILOG = """exit codes:
  0 all is well        1 the model is wrong   2 wrong usage
  3 target not available here                70 a fault of pathc itself (it writes a file to report)

`-` as a file is standard input. Data goes to standard output, everything else to standard error.
NO_COLOR switches colours off, PATHC_DEBUG=1 shows tracebacks."""


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    top = argparse.ArgumentParser(
        prog="pathc",
        description="A compiler for path graphs: sparse networks whose paths visit one neuron in every layer.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"pathc {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        one = verbs.add_parser(verb.name, help=verb.summary, description=f"{verb.description}", allow_abbrev=False)
        verb.arguments(one)
        one.set_defaults(run=verb.run)
    return top


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code, and raises only KeyboardInterrupt."""
    _open_streams()
    try:
        parsed = parser().parse_args(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else WRONG_USAGE
    talk = Talk.of(parsed)
    try:
        code = parsed.run(parsed)
        sys.stdout.flush()
        return code
    except PathcError as mistake:
        if pressed():
            raise KeyboardInterrupt from mistake
        talk.diagnostics(mistake.diagnostics)
        if isinstance(mistake, InternalError):
            talk.say(_reproducer(arguments, mistake))
        _show_traceback()
        return mistake.exit_code
    except KeyboardInterrupt:
        talk.say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except MemoryError as reason:
        text = f"the memory does not suffice: {reason}" if str(reason) else "the memory does not suffice"
        talk.diagnostics([Diagnostic("E0814", text, help="lower the count or the batch")])
        _show_traceback()
        return WRONG_MODEL
    except Exception as fault:
        if pressed():
            raise KeyboardInterrupt from fault
        if isinstance(fault, OSError) and fault.errno in _DISK_FAULTS:
            _drop_output()
            talk.diagnostics([Diagnostic("E0503", f"cannot write: {fault.strerror}", help="make room on the disk")])
            return WRONG_MODEL
        where = _reproducer(arguments, fault)
        text = f"internal error: {type(fault).__name__}: {fault}"
        talk.diagnostics([Diagnostic("E0813", text, help="please report it with that file").note(where)])
        _show_traceback()
        return INTERNAL


def _open_streams() -> None:
    """Let standard streams that the caller has closed lead nowhere, and let output hold any name of a file."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    out: object = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Let what is still buffered lead nowhere; the interpreter would complain about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reproducer(arguments: Sequence[str], fault: BaseException) -> str:
    from pathc.cli import crash

    return crash.report(arguments, fault)


def _show_traceback() -> None:
    if os.environ.get("PATHC_DEBUG", "") not in ("", "0"):
        import traceback

        traceback.print_exc()
