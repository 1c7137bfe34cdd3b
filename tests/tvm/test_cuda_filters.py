"""Nets with extents on the target `cuda`: text executed on the processor, no spills, launches, what is refused."""

from __future__ import annotations

import ctypes
import json
import re
from itertools import count

import gpu_on_cpu as gpu
import numpy as np
import pytest
from extents_support import ACROSS, SOUND, SUMS, case, checked
from fake_cuda import FakeCuda
from filter_nets import texts
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pathc.backends.base import Request
from pathc.backends.tvm import driver, facade, nvrtc
from pathc.backends.tvm.cuda import BACKEND
from pathc.backends.tvm.filters.lower import plan_filters
from pathc.backends.tvm.filters.plan import Blocks, operations_a_byte
from pathc.backends.tvm.filters.tiles import pitch_of, tile_of
from pathc.backends.tvm.program import Program
from pathc.ir.inputs import output_shape
from pathc.ir.types import Word
from pathc.support.diagnostics import PathcError

pytestmark = pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}")
executed = pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
needs_nvrtc = pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}")


def compiled(graph, weights, batch=0, arch="sm_90", **options):
    return BACKEND.compile(Request(graph, weights, {"arch": Word(arch), **options}, batch))


def run(executable, x, order, text=""):
    rows = gpu.run(executable.program, executable.parameters, x.reshape(len(x), -1), order, text)
    return rows.reshape(len(x), *output_shape(executable.request.graph))


@executed
@pytest.mark.parametrize("text", [SUMS, ACROSS, SOUND], ids=["sums", "across", "sound"])
def test_every_operation_in_several_orders_of_threads(text):
    graph, weights, x = case(text)
    executable = compiled(graph, weights)
    outputs = [run(executable, x, order) for order in gpu.ORDERS]
    checked(graph, weights, x, outputs[0])
    for y in outputs[1:]:
        np.testing.assert_array_equal(y, outputs[0])


@executed
@settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(texts(), st.sampled_from([1, 3]), st.booleans(), st.integers(0, 3))
def test_random_nets(text, batch, fused, order):
    graph, weights, x = case(text, batch)
    checked(graph, weights, x, run(compiled(graph, weights, batch, fused=fused), x, order))


BARRIER = re.compile(r"^ *__syncthreads\(\);\n", re.MULTILINE)
DEEP = "input x[32, 6x6]\noutput y[32] : conv(3x3, pad = same) | relu\npaths p : x -> y { count = 1024 }"


@executed
def test_a_missing_barrier_is_caught():
    """Without its barriers a kernel reads planes that other threads have yet to stage, or the ones that come next."""
    graph, weights, x = case(DEEP)
    executable = compiled(graph, weights)
    numbers = count()
    text = 'extern "C" { int removed = -1; }\n'
    text += BARRIER.sub(lambda _: f"if (removed != {next(numbers)}) __syncthreads();\n", executable.program.text)
    removed = ctypes.c_int.in_dll(gpu.build(text), "removed")
    places = next(numbers)
    assert places == 2
    right = run(executable, x, 0)

    def differs() -> bool:
        return not all(np.array_equal(run(executable, x, order, text), right) for order in (0, 1))

    assert not differs()
    for removed.value in range(places):
        assert differs()


@executed
def test_special_values():
    graph, weights, x = case("""
input x[8, 6x6]
layer a[8] : conv(3x3, pad = same) | relu
output y[8] : conv(1x1) | maxpool(2x2)
paths p : x -> a { count = 16 }
paths q : a -> y { count = 20, sequence = random }
""", 4)  # fmt: skip
    for n, special in enumerate([np.nan, np.inf, -np.inf]):
        x[n, 3, 2, 2] = special
    with np.errstate(all="ignore"):
        checked(graph, weights, x, run(compiled(graph, weights), x, 2))


LARGE = """
input x[3, 32x32]
layer a[64] : conv(3x3, pad = same) | batchnorm | relu
layer b[128] : conv(3x3, stride = 2, pad = 1) | bias | relu
layer c[128] : conv(3x3, pad = same) | maxpool(3x3, stride = 2) | kwinners(9)
layer d[128] : conv(3x3, pad = same, groups = 128) | tanh | avgpool(2x2)
output y[64] : conv(1x1) | softmax
dense p : x -> a
paths q : a -> b { count = 2048 }
paths r : b -> c { count = 2048, sequence = random }
dense s : c -> d
paths t : d -> y { count = 1024 }
"""


@needs_nvrtc
@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_kernels_compile_without_spills(arch):
    graph, weights, _ = case(LARGE)
    executable = compiled(graph, weights, 64, arch)
    found = {one.kernel: one for one in executable.binary.resources}
    assert {one.kernel for one in executable.program.launches} == set(found)
    for launch in executable.program.launches:
        used = found[launch.kernel]
        assert (used.spilled, used.stack) == (0, 0), used
        assert used.registers * launch.threads <= 65536
        assert launch.threads <= 256
        assert launch.shared <= 48 * 1024
    text = str(executable.emit("report"))
    assert text.count("operations a byte") == 5
    assert "occupancy 0%" not in text


def the_filter(text) -> Blocks:
    graph, weights, _ = case(text)
    (op,) = plan_filters(graph, weights, ["y"], "y").ops
    assert isinstance(op, Blocks)
    return op


def test_tiles_fill_registers_and_no_bank_is_asked_twice():
    op = the_filter("input x[256, 32x32]\noutput y[256] : conv(3x3, pad = same)\npaths p : x -> y { count = 4096 }")
    assert operations_a_byte(op) == 2 * 9 * 16 / (4 + 4)
    many, single = (tile_of(op, True, single) for single in (False, True))
    assert many.sums >= 32
    assert many.threads >= 128
    blocks = [16 * -(-16 // (t.channels * t.deep)) * -(-32 // t.down) * -(-32 // t.across) // t.several
              for t in (many, single)]  # fmt: skip
    assert blocks[0] < blocks[1]
    assert blocks[1] >= 100
    lanes = [(n // many.wide % many.high, n % many.wide) for n in range(32)]
    banks = {(row * many.rows * pitch_of(op, many) + column) % 32 for row, column in lanes}
    assert len(banks) == 32


@pytest.mark.parametrize(("extents", "wide", "rows"), [("28x28", 28, 4), ("97x97", 25, 4), ("7x7", 7, 4)])
def test_tiles_of_lists_waste_little(extents, wide, rows):
    line = "paths p : x -> y { count = 20, sequence = random }"
    graph, weights, _ = case(f"input x[8, {extents}]\noutput y[8] : conv(3x3, pad = same)\n{line}")
    (op,) = plan_filters(graph, weights, ["y"], "y").ops
    tile = tile_of(op, True, False)
    assert (tile.wide, tile.rows) == (wide, rows)
    assert tile.threads <= 256


def test_filters_that_reach_far_are_not_staged():
    text = "input x[2, 200x200]\noutput y[2] : conv(3x3, dilation = 60)\ndense p : x -> y"
    graph, weights, _ = case(text)
    assert "lists of 4 edges" in str(plan_filters(graph, weights, ["y"], "y"))
    assert "lists" not in str(plan_filters(*case(text.replace("60", "20"))[:2], ["y"], "y"))


@executed
def test_a_program_is_launched_through_the_driver():
    graph, weights, _ = case("input x[4, 8x7]\nlayer h[4] : conv(3x3)\noutput y[8] : relu\ndense p : x -> h -> y")
    executable = compiled(graph, weights, fused=False, lanes=32)
    fake = FakeCuda(executable.program.text)
    program = Program.from_json(executable.program.as_json())
    loaded = driver.Loaded(program, b"\x7fELF", executable.parameters, driver.Device(fake))
    x = np.random.default_rng(0).normal(size=(40, 4, 8, 7)).astype(np.float32)
    checked(graph, weights, x, loaded(x.reshape(40, -1)))
    assert fake.launched == [one.kernel for one in executable.program.launches]
    assert loaded.most() <= 65535
    assert json.loads(str(executable.emit("json")))["launches"][0]["grid"][1] == "batch"
    del loaded
    assert not fake.held


def test_what_is_refused_and_what_is_noted():
    graph, weights, _ = case(ACROSS)
    with pytest.raises(PathcError, match="E0379"):
        compiled(graph, weights, gradients=True)
    notes = compiled(graph, weights, precision=Word("tf32")).notes
    assert [note.code for note in notes] == ["W0669"]
    assert "p.1, p.2" in notes[0].message
    graph, weights, _ = case(DEEP)
    assert [note.code for note in compiled(graph, weights, precision=Word("bf16")).notes] == ["W0669"]
    assert compiled(graph, weights).notes == ()
    with pytest.raises(PathcError, match="E0667"):
        compiled(graph, weights, fused=Word("maybe"))
