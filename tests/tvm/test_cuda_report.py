"""What the report says of kernels: occupancy by hand, operations for a byte, one line for everything."""

from __future__ import annotations

import pytest
from tvm_support import BIAS, RELU, chain, drawn

from pathc.backends.base import Request
from pathc.backends.tvm import facade, nvrtc
from pathc.backends.tvm.cuda import BACKEND
from pathc.backends.tvm.lower import plan_net
from pathc.backends.tvm.nvrtc import Resources
from pathc.backends.tvm.program import Launch
from pathc.backends.tvm.report import intensity, occupancy
from pathc.ir.types import Word

pytestmark = [
    pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}"),
    pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}"),
]


@pytest.mark.parametrize(
    ("threads", "shared", "registers", "arch", "expected"),
    [
        (256, 0, 32, "sm_90", 1.0),
        (256, 0, 64, "sm_90", 0.5),
        (1024, 0, 65, "sm_90", 0.0),
        (32, 0, 16, "sm_80", 0.5),
        (256, 131072, 32, "sm_80", 0.125),
    ],
)
def test_occupancy(threads, shared, registers, arch, expected):
    launch = Launch("k", ("1", "1", "1"), (threads, 1, 1), shared, ())
    assert occupancy(launch, Resources("k", registers, 0, 0), arch) == expected


def test_operations_for_a_byte():
    plan = plan_net(chain((64, 128), 2048), 64, {})
    assert intensity(plan, plan.ops[1]) == 2 * 2048 / (4 * (64 + 128))
    assert intensity(plan, plan.ops[0]) == 0


@pytest.mark.parametrize("options", [{"gradients": True}, {"fused": False}, {"fused": True, "lanes": 32}], ids=str)
def test_every_kernel_has_its_lines(options):
    graph = chain((64, 128, 32), 2048, BIAS, RELU)
    executable = BACKEND.compile(Request(graph, drawn(graph, 1), {"arch": Word("sm_90"), **options}))
    text = str(executable.emit("report"))
    for launch in executable.program.launches:
        assert text.count(f"  {launch.kernel} ") == 2
    assert "operations a byte" in text
    assert "occupancy 0%" not in text
