"""CUDA programs: the text of all kernels of a net, and in which order and how they are launched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TypeVar

from pathc.backends.tvm import facade, tensorcore
from pathc.backends.tvm.compiled import Lowered
from pathc.backends.tvm.facade import DeviceKernel
from pathc.backends.tvm.plan import Blocks
from pathc.support.diagnostics import error

_KERNEL = re.compile(r'^extern "C" __global__', re.MULTILINE)
_PARTS = re.compile(r'(?=^extern "C" __global__)', re.MULTILINE)
T = TypeVar("T")
_VERSION = 1
_MOST_TILES = 65535
_MOST_ELEMENTS = 1 << 31
"""Kernels count tiles in the second extent of the grid and elements with 32 bits."""
PRELUDE = """typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
#define CUDART_INF_F __int_as_float(0x7f800000)
"""


@dataclass(frozen=True)
class Launch:
    """A kernel with the grid and the arrays it is launched with.

    `grid` and `block` are extents in x, y and z, numbers or `tiles`; `arguments` are `x`, `y`, buffers of the plan
    (`h1.1`), parameters (`k1_w`) and the integers `batch` and `tiles`.
    """

    kernel: str
    grid: tuple[str, str, str]
    block: tuple[int, int, int]
    shared: int
    arguments: tuple[str, ...]

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.block[0] * self.block[1] * self.block[2]


@dataclass(frozen=True)
class Program:
    """CUDA text with its launches in order, for tiles of `lanes` samples.

    `buffers` are those in global memory with their units: float32 [tiles, units, lanes]. `gradients` are arrays of
    gradients of weights with their shapes; if there are any, the backward pass begins where `dy` is first taken.
    """

    name: str
    text: str
    lanes: int
    inputs: int
    outputs: int
    launches: tuple[Launch, ...]
    buffers: tuple[tuple[str, int], ...] = ()
    gradients: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def forward(self) -> tuple[Launch, ...]:
        """The launches that lead to the outputs."""
        taking = [at for at, launch in enumerate(self.launches) if "dy" in launch.arguments]
        return self.launches[: taking[0]] if taking else self.launches

    @property
    def most(self) -> int:
        """Samples that one launch can take."""
        widest = max([self.inputs, self.outputs, *(units for _, units in self.buffers)])
        return max(1, min(_MOST_TILES, (_MOST_ELEMENTS - 1) // (widest * self.lanes))) * self.lanes

    @property
    def shared(self) -> int:
        """Bytes of shared memory of the kernel that takes most."""
        return max((launch.shared for launch in self.launches), default=0)

    def as_json(self, weights: Iterable[str] = ()) -> str:
        """Everything but the text, for those who launch the kernels; `weights` in the order a library takes them."""
        record = {key: value for key, value in asdict(self).items() if key != "text"} | {"weights": list(weights)}
        return json.dumps({"version": _VERSION, **record}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Program:
        """The program that `as_json` wrote, without its text; E0663 for anything else."""
        try:
            record = json.loads(text)
            if record.pop("version") != _VERSION:
                raise ValueError("it is of another version")
            launches = tuple(
                Launch(
                    str(one["kernel"]),
                    _three(map(str, one["grid"])),
                    _three(map(int, one["block"])),
                    int(one["shared"]),
                    tuple(map(str, one["arguments"])),
                )
                for one in record["launches"]
            )
            buffers = tuple((str(name), int(units)) for name, units in record["buffers"])
            lanes, inputs, outputs = (int(record[key]) for key in ("lanes", "inputs", "outputs"))
            sums = tuple((str(name), tuple(map(int, shape))) for name, shape in record.get("gradients", ()))
            return cls(str(record["name"]), "", lanes, inputs, outputs, launches, buffers, sums)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as reason:
            raise error("E0663", f"the description of kernels cannot be read: {reason}") from reason


def _three(values: Iterable[T]) -> tuple[T, T, T]:
    x, y, z = values
    return x, y, z


def program(lowered: Lowered, arch: str) -> Program:
    """The program of a plan for an architecture (`sm_90`); InternalError E0698 if TVM fails."""
    plan = lowered.plan
    text, kernels = facade.compile_cuda(lowered.schedule.module, arch)
    by_name = {kernel.name: kernel for kernel in kernels}
    first = _KERNEL.search(text)
    head = f"// {' '.join(plan.name.split())}: tiles of {plan.lanes} samples, {lowered.precision or 'float32'}\n"
    body = text[first.start() :] if first else text
    launches = tuple(
        _launch(by_name[f"{f.name}_kernel"], {f"{a.name}_ptr": a.key for a in f.arguments}) for f in lowered.functions
    )
    if lowered.precision:
        body, launches = _on_tensor_cores(lowered, lowered.precision, body, launches)
    buffers = () if plan.fused else plan.buffers
    text = head + PRELUDE + body
    return Program(plan.name, text, plan.lanes, plan.inputs, plan.outputs, launches, buffers, plan.gradients)


def _on_tensor_cores(
    lowered: Lowered, precision: tensorcore.Precision, text: str, launches: tuple[Launch, ...]
) -> tuple[str, tuple[Launch, ...]]:
    """Kernels of blocks that fit in place of those of TVM."""
    plan, written = lowered.plan, dict[str, str]()
    by_kernel = {launch.kernel: launch for launch in launches}
    for op in plan.ops:
        if isinstance(op, Blocks) and tensorcore.fits(plan, op, precision):
            name = f"{op.name}_kernel"
            written[name], keys = tensorcore.kernel(plan, op, precision)
            by_kernel[name] = Launch(name, tensorcore.grid(op), (32 * tensorcore.WARPS, 1, 1), 0, keys)
    kept = [part for part in _PARTS.split(text) if not any(f" {name}(" in part for name in written)]
    return tensorcore.PRELUDE + "".join([*kept, *written.values()]), tuple(by_kernel.values())


def _launch(kernel: DeviceKernel, keys: dict[str, str]) -> Launch:
    extents = dict(kernel.extents)
    grid = [extents.get(f"blockIdx.{axis}", "1") for axis in "xyz"]
    block = [int(extents.get(f"threadIdx.{axis}", "1")) for axis in "xyz"]
    arguments = tuple(keys.get(name, name) for name in kernel.parameters)
    return Launch(kernel.name, (grid[0], grid[1], grid[2]), (block[0], block[1], block[2]), kernel.shared, arguments)
