"""A pool of native threads that spin for a bounded time after a job and then sleep.

Workers know nothing of Python and hold no lock of it. The thread that asks works too and waits only for tasks a
worker has already taken; a pool that is busy, or whose workers are gone (a forked child), means that the caller
does all of the work itself. Nothing waits for a thread to wake up, so nothing hangs.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

from pathc.backends.llvm.native import aligned, runtime

SPINS = 4000
"""Rounds a worker spins before it sleeps: 40 to 150 microseconds, depending on the processor."""

_MOST_CORES = 1024
"""Cores a mask of the system's library names."""
_STOP, _SPINS = 520, 528
_SIZE = 640

_registry_lock = threading.Lock()
_shared: dict[int, Pool] = {}
_alive: weakref.WeakSet[Pool] = weakref.WeakSet()


class Pool:
    """`threads` threads, the caller's included.

    `close` ends the workers; so do garbage collection and the end of the interpreter. A closed pool still runs
    jobs, on the calling thread alone.
    """

    def __init__(self, threads: int, spins: int = SPINS) -> None:
        if not 1 <= threads <= 1024:
            raise ValueError("a pool has 1 to 1024 threads")
        self.threads = threads
        self._memory = aligned(_SIZE, 128)
        self.address = int(self._memory.ctypes.data)
        ctypes.c_int64.from_address(self.address + _SPINS).value = spins
        self._arguments = (ctypes.c_int64 * (2 * threads))()
        self._handles: list[Any] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self.note = ""
        self._clear = -1
        self._start()
        with _registry_lock:
            _alive.add(self)

    @property
    def workers(self) -> int:
        """Threads working besides the caller's; 0 in a forked child and after `close`."""
        return len(self._handles) if self._owner == os.getpid() else 0

    def run(self, function: int, context: int, tasks: int) -> None:
        """Call the native `void function(ptr context, i64 task, i64 worker)` for every task below `tasks`."""
        _native_run()(self.address, function, context, tasks)

    def close(self) -> None:
        """Stop and join the workers; waits for tasks they are in the middle of."""
        with self._lock:
            handles, self._handles = self._handles, []
            if not handles or self._owner != os.getpid():
                return
            ctypes.c_int32.from_address(self.address + _STOP).value = 1
            runtime().function("pathc_rouse", None, ctypes.c_void_p)(self.address)
            for handle in handles:
                _libc().pthread_join(handle, None)

    def __del__(self) -> None:
        if hasattr(self, "_handles") and ctypes is not None:
            self.close()

    def keep_clear(self) -> None:
        """Keep the workers off the core of the calling thread, as far as there are others.

        A sleeping thread is often woken up on the core of the one that wakes it, where it has to wait for it.
        """
        if not hasattr(os, "sched_getaffinity") or not self.workers:
            return
        allowed, libc = os.sched_getaffinity(0), _libc()
        here = int(libc.sched_getcpu())
        others = allowed - {here}
        if here == self._clear or here not in allowed or len(others) < self.workers or max(allowed) >= _MOST_CORES:
            return
        mask = sum(1 << core for core in others).to_bytes(_MOST_CORES // 8, sys.byteorder)
        with self._lock:
            for handle in self._handles:
                libc.pthread_setaffinity_np(handle, ctypes.c_size_t(len(mask)), mask)
        self._clear = here

    def _start(self) -> None:
        if self.threads == 1:
            return
        body = runtime().address("pathc_worker")
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            for worker in range(1, self.threads):
                self._arguments[2 * worker], self._arguments[2 * worker + 1] = self.address, worker
                handle = ctypes.c_void_p()
                argument = ctypes.byref(self._arguments, 16 * worker)
                failed = _libc().pthread_create(ctypes.byref(handle), None, ctypes.c_void_p(body), argument)
                if failed:
                    self.note = f"only {worker} of {self.threads} threads could be started: {os.strerror(failed)}"
                    return
                self._handles.append(handle)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def pool(threads: int) -> Pool:
    """The shared pool of this many threads, started when first asked for."""
    with _registry_lock:
        found = _shared.get(threads)
    if found is None:
        made = Pool(threads)
        with _registry_lock:
            found = _shared.setdefault(threads, made)
    return found


def use(threads: int) -> None:
    """Let `pathc_parallel` in generated code run on the shared pool of this many threads (1: on the caller)."""
    chosen = pool(threads) if threads > 1 else None
    runtime().function("pathc_use", None, ctypes.c_void_p)(chosen.address if chosen else None)


def parallel_address() -> int:
    """Address of `void pathc_parallel(ptr function, ptr context, i64 tasks)` for generated code."""
    return runtime().address("pathc_parallel")


@cache
def _native_run() -> Callable[[int, int, int, int], None]:
    types = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
    return runtime().function("pathc_pool_run", None, *types)


@cache
def _libc() -> Any:
    return ctypes.CDLL(None)


def _forget() -> None:
    """In a forked child: the threads stayed in the parent, so new binds start new pools."""
    global _registry_lock
    _registry_lock = threading.Lock()
    _shared.clear()


def _stop_all() -> None:
    for each in list(_alive):
        each.close()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
