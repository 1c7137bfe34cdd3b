"""CUDA programs: the text of all kernels of a net, and in which order and how they are launched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from pathc.backends.tvm import facade, tensorcore
from pathc.backends.tvm.compiled import Lowered
from pathc.backends.tvm.facade import DeviceKernel
from pathc.backends.tvm.plan import Blocks, NetPlan
from pathc.backends.tvm.recurrent.plan import SequencePlan
from pathc.backends.tvm.tir import Function
from pathc.support.diagnostics import error

_KERNEL = re.compile(r'^extern "C" __global__', re.MULTILINE)
_PARTS = re.compile(r'(?=^extern "C" __global__)', re.MULTILINE)
T = TypeVar("T")
_VERSION = 1
_MOST_TILES = 65535
_MOST_ELEMENTS = 1 << 31
"""Kernels count tiles, those of filters samples, in the second extent of the grid and elements with 32 bits."""
PRELUDE = """typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
#define CUDART_INF_F __int_as_float(0x7f800000)
"""


@dataclass(frozen=True)
class Launch:
    """A kernel with the grid and the arrays it is launched with.

    `grid` and `block` are extents in x, y and z; `arguments` are `x`, `y`, arrays and buffers of the plan (`h1.1`),
    parameters (`k1_w`) and integers. Integers and extents are numbers, `batch`, `tiles`, of sequences also `steps` and
    `rows` = batch * steps; `rows/64` is divided and rounded up.
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

    `buffers` are those in global memory with their units: float32 [tiles, units, lanes], or [batch, units] in the same
    room. `gradients` are arrays of gradients of weights with their shapes; if there are any, the backward pass begins
    where `dy` is first taken.

    A program over sequences takes and gives [batch, steps, units]. Its `arrays` are [batch, steps, columns], its
    `states` what stateful cells hand on, so many numbers for a sequence, zero at first; tiles are of steps.
    """

    name: str
    text: str
    lanes: int
    inputs: int
    outputs: int
    launches: tuple[Launch, ...]
    buffers: tuple[tuple[str, int], ...] = ()
    gradients: tuple[tuple[str, tuple[int, ...]], ...] = ()
    arrays: tuple[tuple[str, int], ...] = ()
    states: tuple[tuple[str, int], ...] = ()

    @property
    def sequences(self) -> bool:
        """Whether it runs over sequences."""
        return any("steps" in launch.arguments for launch in self.launches)

    @property
    def forward(self) -> tuple[Launch, ...]:
        """The launches that lead to the outputs."""
        taking = [at for at, launch in enumerate(self.launches) if "dy" in launch.arguments]
        return self.launches[: taking[0]] if taking else self.launches

    @property
    def most(self) -> int:
        """Samples, or steps of all sequences, that one launch can take."""
        widest = max([self.inputs, self.outputs, *(units for _, units in (*self.buffers, *self.arrays))])
        tiles = [int(e.partition("/")[2]) for one in self.launches for e in one.grid if e.startswith("rows/")]
        rows = min(_MOST_TILES * min(tiles, default=self.lanes), (_MOST_ELEMENTS - 1) // widest)
        if any("batch" in launch.grid[1:] for launch in self.launches):
            rows = min(rows, _MOST_TILES)
        return max(1, rows // self.lanes) * self.lanes

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
            buffers, arrays, states = (
                tuple((str(name), int(size)) for name, size in record.get(key, ()))
                for key in ("buffers", "arrays", "states")
            )
            lanes, inputs, outputs = (int(record[key]) for key in ("lanes", "inputs", "outputs"))
            sums = tuple((str(name), tuple(map(int, shape))) for name, shape in record.get("gradients", ()))
            name = str(record["name"])
            return cls(name, "", lanes, inputs, outputs, launches, buffers, sums, arrays, states)
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
    launches = {f"{f.name}_kernel": _launch(by_name[f"{f.name}_kernel"], f) for f in lowered.functions}
    if lowered.precision:
        body = _on_tensor_cores(plan, lowered.precision, body, launches)
    text = head + PRELUDE + body
    sizes = plan.lanes, plan.inputs, plan.outputs
    found = Program(plan.name, text, *sizes, tuple(launches.values()), plan.kept, plan.gradients)
    if not isinstance(plan, NetPlan):
        return replace(found, arrays=plan.arrays, states=plan.states)
    # The arrays of filters are [batch, floats], which takes no more.
    return replace(found, buffers=(*plan.kept, *plan.filters.arrays.items())) if plan.filters else found


def _on_tensor_cores(
    plan: NetPlan | SequencePlan, precision: tensorcore.Precision, text: str, launches: dict[str, Launch]
) -> str:
    """The text with kernels of blocks that fit in place of those of TVM, and their launches put in place."""
    written = dict[str, str]()
    for net in (plan,) if isinstance(plan, NetPlan) else plan.nets:
        for op in net.ops:
            if isinstance(op, Blocks) and tensorcore.fits(net, op, precision):
                name = f"{op.name}_kernel"
                written[name], keys = tensorcore.kernel(net, op, precision)
                tiles = launches[name].grid[1]
                block, *_ = tensorcore.grid(op)
                shared = tensorcore.shared_bytes(net, op, precision)
                launches[name] = Launch(name, (block, tiles, "1"), (32 * tensorcore.WARPS, 1, 1), shared, keys)
    kept = [part for part in _PARTS.split(text) if not any(f" {name}(" in part for name in written)]
    return tensorcore.PRELUDE + "".join([*kept, *written.values()])


def _launch(kernel: DeviceKernel, function: Function) -> Launch:
    extents = dict(kernel.extents)
    keys = {f"{a.name}_ptr": a.key for a in function.arguments}
    grid = [function.called(extents.get(f"blockIdx.{axis}", "1")) for axis in "xyz"]
    block = [int(extents.get(f"threadIdx.{axis}", "1")) for axis in "xyz"]
    arguments = tuple(keys.get(name) or function.called(name) for name in kernel.parameters)
    return Launch(kernel.name, (grid[0], grid[1], grid[2]), (block[0], block[1], block[2]), kernel.shared, arguments)


def extent(text: str, numbers: Mapping[str, int]) -> int:
    """An extent of a grid or an integer argument: a number, one of `numbers`, or one divided and rounded up."""
    name, _, divisor = text.partition("/")
    number = numbers[name] if name in numbers else int(name)
    return -(-number // int(divisor)) if divisor else number
