from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from pathc.backends.llvm.jit import Library, compile_ir
from pathc.backends.llvm.threads import Pool, pool, use

COUNT = """
define void @count(ptr %c, i64 %task, i64 %worker) {
entry:
  %p = getelementptr i64, ptr %c, i64 %task
  %o = atomicrmw add ptr %p, i64 1 monotonic
  %rounds.at = getelementptr i64, ptr %c, i64 -1
  %workers.at = getelementptr i64, ptr %c, i64 -2
  %bit = shl i64 1, %worker
  %w = atomicrmw or ptr %workers.at, i64 %bit monotonic
  br label %spin
spin:
  %i = phi i64 [ 0, %entry ], [ %n, %spin ]
  %n = add i64 %i, 1
  %rounds = load volatile i64, ptr %rounds.at
  %more = icmp ult i64 %n, %rounds
  br i1 %more, label %spin, label %end
end:
  ret void
}

declare void @pathc_parallel(ptr, ptr, i64)
define void @through(ptr %c, i64 %tasks) {
  call void @pathc_parallel(ptr @count, ptr %c, i64 %tasks)
  ret void
}
define void @nested(ptr %c, i64 %task, i64 %worker) {
  call void @pathc_parallel(ptr @count, ptr %c, i64 8)
  ret void
}
define void @outer(ptr %c, i64 %tasks) {
  call void @pathc_parallel(ptr @nested, ptr %c, i64 %tasks)
  ret void
}
"""


@pytest.fixture(scope="module")
def library() -> Library:
    return compile_ir(COUNT)


class Counters:
    """Task counters behind two words: the workers seen, and how long a task spins."""

    def __init__(self, tasks: int, rounds: int = 0) -> None:
        self.memory = np.zeros(tasks + 2, np.int64)
        self.memory[1] = rounds
        self.address = self.memory.ctypes.data + 16

    @property
    def tasks(self) -> np.ndarray:
        return self.memory[2:]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 7, 64, 1000])
def test_every_task_runs_once(library: Library, threads: int, tasks: int):
    made = Pool(threads)
    counters = Counters(tasks)
    for _ in range(20):
        made.run(library.address("count"), counters.address, tasks)
    made.close()
    assert (counters.tasks == 20).all()
    assert counters.memory[0] < 1 << threads


def test_workers_do_take_part(library: Library):
    counters = Counters(64, rounds=100_000)
    for _ in range(50):
        pool(2).run(library.address("count"), counters.address, 64)
        if counters.memory[0] == 3:
            break
    assert counters.memory[0] == 3


@pytest.mark.parametrize("spins", [0, 1, 4000])
def test_thousands_of_quick_jobs_on_more_threads_than_cores(library: Library, spins: int):
    made = Pool(2 * (os.cpu_count() or 1) + 3, spins)
    counters = Counters(5)
    for i in range(3000):
        made.run(library.address("count"), counters.address, 5)
        if i % 1000 == 0:
            time.sleep(0.002)
    made.close()
    assert (counters.tasks == 3000).all()


def test_many_pools_come_and_go(library: Library):
    before = threading.active_count()
    counters = Counters(4)
    made = [Pool(3) for _ in range(20)]
    for each in made:
        each.run(library.address("count"), counters.address, 4)
        assert each.workers == 2
    for each in made[::2]:
        each.close()
        each.close()
        assert each.workers == 0
        each.run(library.address("count"), counters.address, 4)
    del made
    assert (counters.tasks == 30).all()
    assert threading.active_count() == before
    assert len(os.listdir("/proc/self/task")) < 40


def test_a_busy_pool_leaves_the_work_to_the_caller(library: Library):
    made, counters = Pool(2), [Counters(16, rounds=2000) for _ in range(6)]

    def work(mine: Counters) -> None:
        for _ in range(100):
            made.run(library.address("count"), mine.address, 16)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in counters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.close()
    assert all((mine.tasks == 100).all() for mine in counters)


def test_parallel_from_generated_code_also_nested(library: Library):
    types = None, ctypes.c_void_p, ctypes.c_int64
    counters = Counters(8)
    try:
        for threads in (1, 2, 3):
            use(threads)
            library.function("through", *types)(counters.address, 8)
        library.function("outer", *types)(counters.address, 5)
    finally:
        use(1)
    assert (counters.tasks == 8).all()


def test_sizes_are_checked():
    for threads in (0, -1, 100_000):
        with pytest.raises(ValueError):
            Pool(threads)


PROGRAM = """
import os, sys, threading, time
import numpy as np
sys.path.insert(0, {tests!r})
from test_threads import COUNT, Counters
from pathc.backends.llvm.jit import compile_ir
from pathc.backends.llvm.threads import Pool, pool
library = compile_ir(COUNT)
def job(made, tasks=6):
    counters = Counters(tasks, 100)
    made.run(library.address("count"), counters.address, tasks)
    assert (counters.tasks == 1).all()
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    script = PROGRAM.format(tests=os.path.dirname(__file__)) + body
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "body",
    [
        "pool(3); job(pool(3))",
        "mine = Pool(4); job(mine); job(pool(2))",
        "job(pool(2)); os._exit(0)",
        "stop = threading.Thread(target=lambda: [job(pool(2)) for _ in range(2000)]); stop.start()",
        "import atexit; atexit.register(lambda: job(pool(2))); job(pool(2)); atexit.register(lambda: job(pool(3)))",
        "t = threading.Thread(target=lambda: [job(pool(2)) for _ in range(10**9)], daemon=True); t.start(); "
        "time.sleep(0.1)",
    ],
)
def test_the_interpreter_ends_cleanly(body: str):
    done = run(body)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_exception_at_the_end_is_the_only_thing_seen():
    done = run("job(pool(2)); raise SystemExit(5)")
    assert (done.returncode, done.stderr) == (5, "")


def test_a_forked_child_works_alone_and_can_start_pools_of_its_own():
    done = run(
        "mine = pool(3); job(mine)\n"
        "for _ in range(5):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        job(mine); assert mine.workers == 0\n"
        "        fresh = pool(3); assert fresh is not mine and fresh.workers == 2; job(fresh)\n"
        "        sys.exit(7)\n"
        "    job(mine)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "assert mine.workers == 2\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_signals_stay_with_the_main_thread():
    done = run(
        "import signal\n"
        "pool(4); seen = []\n"
        "signal.signal(signal.SIGALRM, lambda *a: seen.append(1))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05); started = time.time()\n"
        "signal.pause(); assert seen and time.time() - started < 5\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not bind threads to cores")
def test_workers_stay_off_the_core_of_the_caller():
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("there is one core only")
    before = set(os.listdir("/proc/self/task"))
    made = Pool(2)
    (worker,) = set(os.listdir("/proc/self/task")) - before
    assert os.sched_getaffinity(int(worker)) == allowed
    try:
        for core in sorted(allowed)[:2]:
            os.sched_setaffinity(threading.get_native_id(), {core})
            os.sched_setaffinity(threading.get_native_id(), allowed)
            here = ctypes.CDLL(None).sched_getcpu()
            made.keep_clear()
            bound = os.sched_getaffinity(int(worker))
            assert bound < allowed
            assert bound == allowed - {here} or ctypes.CDLL(None).sched_getcpu() != here
    finally:
        made.close()
