from __future__ import annotations

import gc
import sys
import threading
import weakref

import numpy as np
import pytest
from runtime_kernels import SCALE

from pathc.backends.llvm.call import Kernel
from pathc.backends.llvm.jit import compile_ir
from pathc.support.diagnostics import PathcError

WAIT = """
define void @wait(ptr %x, ptr %y, ptr %params, ptr %scratch, i64 %batch, i64 %xs, i64 %ys) nounwind {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %n, %loop ]
  %n = add i64 %i, 1
  %v = load volatile float, ptr %x, align 4
  %set = fcmp one float %v, 0.0
  %late = icmp ugt i64 %n, 400000000
  %stop = or i1 %set, %late
  br i1 %stop, label %end, label %loop
end:
  store float %v, ptr %y, align 4
  ret void
}
"""
"""Waits for x to change, about a quarter of a second at most."""

UNITS = 16
FACTORS = np.arange(1, UNITS + 1, dtype=np.float32)


def kernel(threads: int = 1, work: int = 16, **options: int) -> Kernel:
    library = compile_ir(SCALE.replace("align 64", "align 4"))
    return Kernel(library, "scale", UNITS, UNITS, FACTORS, scratch=64, work=work, threads=threads, **options)


def sample(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, UNITS)).astype(np.float32)


@pytest.mark.parametrize("batch", [0, 1, 2, 7, 64, 257])
@pytest.mark.parametrize(("threads", "work"), [(1, 16), (1, 1_000_000), (2, 1_000_000), (3, 1_000_000)])
@pytest.mark.parametrize("tile", [1, 4, 16])
def test_bound_and_open_calls(batch: int, threads: int, work: int, tile: int):
    made = kernel(threads, work, tile=tile)
    x = sample(batch)
    y = np.full((batch, UNITS), np.nan, np.float32)
    bound = made.bind(x, y)
    assert bound.call() is y
    np.testing.assert_array_equal(y, x * FACTORS)
    x += 1
    assert bound() is y
    np.testing.assert_array_equal(y, x * FACTORS)
    np.testing.assert_array_equal(made(x), x * FACTORS)
    assert made(x, y) is y


def test_through_ctypes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATHC_CALL", "ctypes")
    made, x = kernel(2, 1_000_000), sample(9)
    np.testing.assert_array_equal(made.bind(x)(), x * FACTORS)
    np.testing.assert_array_equal(made(x), x * FACTORS)
    assert "built-in" not in repr(made.bind(x).call)


def test_single_samples_and_views():
    made, x = kernel(), sample(5)
    np.testing.assert_array_equal(made(x[0]), x[0] * FACTORS)
    np.testing.assert_array_equal(made.bind(x[0]).call(), x[0] * FACTORS)
    wide = np.zeros((5, 40), np.float32)
    wide[:, 3:19] = x
    np.testing.assert_array_equal(made.bind(wide[:, 3:19]).call(), x * FACTORS)
    out = np.zeros((5, 40), np.float32)
    made(wide[::2, 3:19], out[::2, 20:36])
    np.testing.assert_array_equal(out[::2, 20:36], x[::2] * FACTORS)
    assert not out[1::2].any()
    assert not out[:, :20].any()
    np.testing.assert_array_equal(made(np.asfortranarray(x)), x * FACTORS)
    np.testing.assert_array_equal(made(x[::-1]), x[::-1] * FACTORS)
    repeated = np.broadcast_to(x[0], (4, UNITS))
    np.testing.assert_array_equal(made(repeated), repeated * FACTORS)


def test_input_and_output_side_by_side_in_one_array():
    both = np.zeros((6, 32), np.float32)
    both[:, :16] = sample(6)
    made = kernel()
    made.bind(both[:, :16], both[:, 16:]).call()
    np.testing.assert_array_equal(both[:, 16:], both[:, :16] * FACTORS)


def test_not_a_number_passes_through():
    x = sample(2)
    x[0, 3] = np.nan
    x[1, 5] = np.inf
    y = kernel()(x)
    assert np.isnan(y[0, 3])
    assert np.isinf(y[1, 5])
    assert np.isnan(y).sum() == 1


FROZEN = np.zeros((2, UNITS), np.float32)
FROZEN.flags.writeable = False
BASE = np.zeros((4, UNITS), np.float32)


@pytest.mark.parametrize(
    ("x", "y", "code"),
    [
        (np.zeros((2, UNITS)), None, "E0701"),
        (np.zeros((2, UNITS), ">f4"), None, "E0701"),
        ([1.0] * UNITS, None, "E0701"),
        (None, None, "E0701"),
        ("text", None, "E0701"),
        (np.zeros((2, UNITS), np.float32), [0], "E0701"),
        (np.zeros((2, UNITS), np.float32), np.zeros((2, UNITS)), "E0701"),
        (np.zeros((2, UNITS + 1), np.float32), None, "E0702"),
        (np.zeros((2, 2, UNITS), np.float32), None, "E0702"),
        (np.float32(3), None, "E0701"),
        (np.array(3, np.float32), None, "E0702"),
        (np.zeros((2, UNITS), np.float32), np.zeros((3, UNITS), np.float32), "E0702"),
        (np.zeros((1, UNITS), np.float32), np.zeros(UNITS, np.float32), "E0702"),
        (np.zeros((2, UNITS), np.float32), np.zeros((UNITS, 2), np.float32).T, "E0703"),
        (np.zeros((2, UNITS), np.float32), np.broadcast_to(np.float32(0), (2, UNITS)), "E0703"),
        (
            np.zeros((2, UNITS), np.float32),
            np.frombuffer(bytearray(2 * UNITS * 4 + 1), np.uint8)[1:].view(np.float32).reshape(2, UNITS),
            "E0703",
        ),
        (np.zeros((2, UNITS), np.float32), FROZEN, "E0704"),
        (BASE[:2], BASE[:2], "E0705"),
        (BASE[:3], BASE[1:], "E0705"),
    ],
)
def test_wrong_arrays_are_refused(x: object, y: object, code: str):
    made = kernel()
    for attempt in (made.bind, made):
        with pytest.raises(PathcError) as caught:
            attempt(x, y)
        assert caught.value.diagnostics[0].code == code


def test_unaligned_input_is_copied_but_not_bound():
    raw = np.arange(2 * UNITS * 4 + 1).astype(np.uint8)[1:].view(np.float32).reshape(2, UNITS)
    with pytest.raises(PathcError, match="E0703"):
        kernel().bind(raw)
    made = kernel()
    np.testing.assert_array_equal(made(raw), made(raw.copy()))


def test_references_stay_even():
    made, x = kernel(), sample(3)
    y = np.empty_like(x)
    call, opened = made.bind(x, y).call, made
    call()
    opened(x, y)
    watched = (x, y, None, made, made.library)
    before = [sys.getrefcount(item) for item in watched]
    for _ in range(100_000):
        call()
    for _ in range(20_000):
        opened(x, y)
        opened._open(x, "no array")
        opened._open(x, x)
        opened._open(x)
    after = [sys.getrefcount(item) for item in watched]
    assert [abs(a - b) <= (50 if item is None else 0) for a, b, item in zip(after, before, watched, strict=True)] == (
        [True] * len(watched)
    )


def test_the_function_keeps_all_it_needs_alive_and_lets_go_of_it():
    made = kernel()
    x = sample(4)
    expected = x * FACTORS
    call = made.bind(x).call
    kept = [weakref.ref(made.library), weakref.ref(x)]
    del made, x
    gc.collect()
    np.testing.assert_array_equal(call(), expected)
    assert all(ref() is not None for ref in kept)
    del call
    gc.collect()
    assert all(ref() is None for ref in kept)


def test_kernels_come_and_go():
    rng = np.random.default_rng(1)
    alive: list[tuple[object, np.ndarray]] = []
    for step in range(200):
        if alive and rng.random() < 0.5:
            alive.pop(int(rng.integers(len(alive))))
        else:
            x = sample(int(rng.integers(1, 9)), step)
            alive.append((kernel(int(rng.integers(1, 3)), 1_000_000).bind(x).call, x))
        for call, x in alive[-3:]:
            np.testing.assert_array_equal(call(), x * FACTORS)


def test_many_python_threads_each_with_its_own():
    made, wrong = kernel(2, 100_000), []

    def work(seed: int) -> None:
        x = sample(32, seed)
        call = made.bind(x).call
        for _ in range(300):
            if not np.array_equal(call(), x * FACTORS) or not np.array_equal(made(x), x * FACTORS):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_bound_kernel_on_two_threads_is_right_or_says_so():
    call = kernel(1, 1_000_000).bind(sample(4000)).call
    expected = call().copy()
    said: list[str] = []

    def work() -> None:
        for _ in range(200):
            try:
                call()
            except RuntimeError as refusal:
                said.append(str(refusal))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(call(), expected)
    assert all("bind it once for every thread" in text for text in said)


@pytest.mark.parametrize(("work", "released"), [(1_000_000, True), (1, False)])
def test_the_gil_is_released_for_large_work_only(work: int, released: bool):
    made = Kernel(compile_ir(WAIT), "wait", 1, 1, np.zeros(1, np.float32), work=work, threads=1)
    x = np.zeros((1, 1), np.float32)
    started = threading.Event()

    def answer() -> None:
        started.wait()
        x[0, 0] = 1

    thread = threading.Thread(target=answer)
    call = made.bind(x).call
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.5)
    try:
        thread.start()
        started.set()
        seen = call()[0, 0] if released or not x[0, 0] else 0
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert seen == released


def test_arguments_are_counted():
    call = kernel().bind(sample(1)).call
    with pytest.raises(TypeError):
        call(1)  # pyright: ignore[reportCallIssue]
