"""Jobs of `cuda.py`: each compares or measures one thing in a process that may die of it.

A fault in a kernel ends everything that a process does on a GPU from then on. So a worker does one job after the other
and says what it found line by line; if it ends or takes too long, the job it was at has failed, and another worker does
the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, Queue
from typing import IO, Any

Found = dict[str, Any]
"""What a job found, or `failed` with the reason."""
MARK = "found: "
STARTING = 60.0
"""Seconds that a worker may take to start, as it may import PyTorch."""
NO_TIME = "the time was up"
_IN_VAIN = 3
"""Workers in a row that do nothing before no other is started."""


def work(jobs: Sequence[str], do: Callable[[str], Found]) -> int:
    """Do jobs in turn and say what each found; a job that raises ends the worker, as the GPU may take nothing more."""
    for job in jobs:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                found = do(job)
        except Exception as reason:
            found = {"failed": f"{type(reason).__name__}: {' '.join(str(reason).split())[:300]}"}
        print(MARK + json.dumps(found), flush=True)
        if "failed" in found:
            return 1
    return 0


def supervise(
    command: Sequence[str],
    jobs: Sequence[str],
    seconds: float,
    deadline: float,
    report: Callable[[str, Found], None],
) -> int:
    """Have workers do all jobs, each in at most so many seconds, and report each as soon as it is done.

    `command` starts a worker that takes jobs as its last arguments. Jobs that are left at the `deadline`, a time of
    time.monotonic(), have failed. Gives the exit code of the last worker that ended by itself.
    """
    left, code, in_vain = list(jobs), 0, 0
    while left and time.monotonic() < deadline and in_vain < _IN_VAIN:
        in_vain += 1
        with _started([*command, *left]) as (process, lines):
            limit = seconds + STARTING
            while left:
                end = min(time.monotonic() + limit, deadline)
                found = _next(lines, end)
                if found is None:
                    reason = NO_TIME if time.monotonic() >= deadline else f"it took more than {limit:.0f} s"
                    found = {"failed": reason}
                elif not found:
                    found = {"failed": f"its process ended with {process.wait()}"}
                report(left.pop(0), found)
                if "failed" in found:
                    break
                limit, in_vain = seconds, 0
            if not left:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(max(1.0, min(seconds, deadline - time.monotonic())))
    for job in left:
        report(job, {"failed": NO_TIME if in_vain < _IN_VAIN else f"{_IN_VAIN} processes in a row did nothing"})
    return code


def _next(lines: Queue[str], end: float) -> Found | None:
    """What the next job found: empty where the worker has ended, None where time has."""
    while True:
        try:
            line = lines.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            return None
        if not line:
            return {}
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
        print(line, end="", file=sys.stderr)


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], Queue[str]]]:
    """A worker and the lines it writes, an empty one at the end; what is left of it in the end is killed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
    lines: Queue[str] = Queue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join(1.0)


def _read(stream: IO[str], lines: Queue[str]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")
