from __future__ import annotations

import time

import pytest

from pathc.backends.llvm.machine import host, machine
from pathc.backends.llvm.roofline import Roofline, measure
from pathc.support.diagnostics import UnavailableError


def test_this_machine_is_measured_quickly_and_plausibly():
    started = time.perf_counter()
    found = measure(host(), 1)
    assert time.perf_counter() - started < 10
    assert 1 < found.fma_gflops < 10_000
    assert 0.3 < found.fma_gflops_all / found.fma_gflops < 3
    rates = [rate for _, rate in found.streams]
    assert all(0.1 < rate < 100_000 for rate in rates)
    assert rates[0] > rates[-1]
    assert (found.vnni_gops > 0) == host().vnni
    assert (found.tile_gops > found.vnni_gops) == (found.tile_gflops > 0) == ("amx-int8" in host().has)
    assert measure(host(), 1) is found


def test_narrow_vectors_have_a_lower_roof():
    narrow, wide = measure(machine({"cpu": "generic"}), 1), measure(host(), 1)
    assert narrow.fma_gflops < wide.fma_gflops
    assert narrow.vnni_gops == 0


def test_interpolation():
    roof = Roofline(100.0, 190.0, 2, ((1 << 10, 200.0), (1 << 20, 100.0), (1 << 30, 20.0)), 0, 0, 0.0)
    assert roof.stream_gbs(1) == 200
    assert roof.stream_gbs(1 << 40) == 20
    assert roof.stream_gbs(1 << 15) == pytest.approx(150)
    assert roof.batch1_gflops(1 << 20) == 50
    assert roof.batch1_gflops(1 << 20, 2) == 100
    assert roof.batch1_gflops(1 << 10) == 100
    assert roof.batch_gflops(1) == 100
    assert roof.batch_gflops(2) == roof.batch_gflops(8) == 190


def test_another_machine_is_refused():
    with pytest.raises(UnavailableError):
        measure(machine({"cpu": "aarch64"}))
