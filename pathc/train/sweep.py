"""Sweeps: a grid of nets trained in processes of one machine, or over Dask on many; finished cells are not repeated."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pathc.support.diagnostics import Diagnostic, UnavailableError, error
from pathc.train.cells import Cell, Record, file_of, finished, train_cell
from pathc.train.data import load_data

THIS_MACHINE = ""
_PAUSE = 0.05
"""Seconds between two looks at what has ended."""


def sweep(
    cells: Sequence[Cell],
    *,
    jobs: int = 0,
    scheduler: str = THIS_MACHINE,
    tell: Callable[[Cell, Record, int], None] = lambda cell, record, left: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Record]:
    """Train every cell whose result is not in its folder yet; results in the order of the cells.

    `jobs` is the number of processes (0: one a core), `scheduler` the address of a Dask scheduler, or `local` for
    one of its own. `tell` hears of every cell that ends, and how many are left; `stop` ends the sweep early, with the
    results so far. Cells that fail have `errors` in their record. Raises PathcError: E0503 if the folder cannot be
    written, E0901 and others for data that cannot be read; UnavailableError E0916 if `distributed` is missing.
    """
    digests = {name: load_data(*name).digest for name in {(c.data, c.scale) for c in cells}}
    keys = {cell: cell.key(digests[cell.data, cell.scale]) for cell in cells}
    for folder in {cell.folder for cell in cells if cell.folder}:
        _make(Path(folder) / "cells")
    done = {cell: record for cell in cells if (record := finished(file_of(cell, keys[cell]), keys[cell])) is not None}
    todo = [cell for cell in cells if cell not in done]
    if todo:
        with _pool(scheduler, min(jobs or _cores(), len(todo))) as submit:
            for cell, record in _ended(submit, todo, keys, stop):
                done[cell] = record
                tell(cell, record, len(cells) - len(done))
    return [done[cell] for cell in cells if cell in done]


Submit = Callable[[Cell, str], Any]
"""Hands a cell to who trains it; returns a future."""


def _ended(
    submit: Submit, todo: Sequence[Cell], keys: dict[Cell, str], stop: Callable[[], bool]
) -> Generator[tuple[Cell, Record]]:
    """Cells as they end."""
    with _unheard():
        waiting: dict[Any, Cell] = {submit(cell, keys[cell]): cell for cell in todo}
    while waiting:
        if stop():
            for future in waiting:
                future.cancel()
            return
        ended = [future for future in waiting if future.done()]
        for future in ended:
            yield waiting.pop(future), _result(future)
        if not ended:
            time.sleep(_PAUSE)


def _result(future: Any) -> Record:
    try:
        return future.result()
    except BrokenProcessPool as reason:
        text = "a process of the sweep was ended by the system, for want of memory perhaps"
        raise error("E0914", text, help="use fewer --jobs; finished cells are kept") from reason


@contextmanager
def _pool(scheduler: str, jobs: int) -> Generator[Submit]:
    if scheduler == THIS_MACHINE:
        # Forked children would inherit the threads of compiled kernels in whatever state they are.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_quiet) as pool:
            yield lambda cell, key: pool.submit(train_cell, cell, key)
        return
    distributed = _distributed()
    try:
        with ExitStack() as opened:
            address: Any = scheduler
            if scheduler == "local":
                with _unheard():
                    cluster = distributed.LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None)
                address = opened.enter_context(cluster)
            client: Any = opened.enter_context(distributed.Client(address))
            yield lambda cell, key: client.submit(train_cell, cell, key)
    except OSError as reason:
        text = f"the Dask scheduler `{scheduler}` does not answer: {reason}"
        raise error("E0914", text, help="start one with `dask scheduler`, or leave --scheduler out") from reason


@contextmanager
def _unheard() -> Generator[None]:
    """Hold Ctrl-C back while processes start, which inherit that: until they ignore it, it would end them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _quiet() -> None:
    """Workers leave Ctrl-C to the process that started them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError:
        help = "pip install 'pathc[sweep]'"
        text = "sweeps over several machines need the library `distributed`"
        raise UnavailableError(Diagnostic("E0916", text, help=help)) from None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        text = f"cannot make the folder `{folder}`: {reason.strerror or reason}"
        raise error("E0503", text, help="name another one with -o") from reason


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
