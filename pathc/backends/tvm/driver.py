"""Launching compiled kernels through the CUDA driver alone: no TVM, no CUDA toolkit, only libcuda."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.tvm.program import Launch, Program, extent
from pathc.backends.tvm.recurrent.plan import check_states
from pathc.support.diagnostics import Diagnostic, UnavailableError, error

Arrays = Mapping[str, NDArray[Any]]
_NAMES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
_MAJOR, _MINOR, _SHARED_MOST = 75, 76, 97
_MEMORY_CLOCK, _BUS_WIDTH = 36, 37
_SHARED_WANTED = 8
_OUT_OF_MEMORY = 2
_SERIES = 0.02
"""Seconds that a series of launches takes about."""
_SMALLER = "the memory of the GPU does not suffice: use a smaller batch, or end what else uses it (nvidia-smi)"
_REPORT = "check nvidia-smi; if the GPU is well, run `benchmarks/cuda.py run FOLDER --sanitize` and report what it says"


@cache
def missing() -> str:
    """Why no kernel can run here, with the cure; empty if there is a GPU."""
    try:
        device()
    except UnavailableError as reason:
        return f"{reason.diagnostics[0].message}; {reason.diagnostics[0].help}"
    return ""


@cache
def device() -> Device:
    """The first GPU; UnavailableError E0664 where there is none."""
    for name in _NAMES:
        try:
            return Device(ctypes.CDLL(name))
        except OSError:
            continue
    text = "there is no CUDA driver here (libcuda.so.1)"
    raise UnavailableError(
        Diagnostic("E0664", text, help="install NVIDIA's driver, or write files with -o and carry them")
    )


class Device:
    """A GPU, ready to take programs. `library` is libcuda, or what behaves like it."""

    def __init__(self, library: Any) -> None:
        self._cuda = library
        handle, self._context = ctypes.c_int(), ctypes.c_void_p()
        if library.cuInit(0) or library.cuDeviceGet(ctypes.byref(handle), 0):
            text = "there is a CUDA driver, but it finds no GPU"
            raise UnavailableError(Diagnostic("E0664", text, help="check nvidia-smi, or write files with -o"))
        self._device = handle
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), handle)
        self.call("cuCtxSetCurrent", self._context)

    def call(self, name: str, *arguments: Any) -> None:
        """Call the driver; E0665 with its words if it fails."""
        status = getattr(self._cuda, name)(*arguments)
        if status:
            words = ctypes.c_char_p()
            self._cuda.cuGetErrorString(status, ctypes.byref(words))
            said = (words.value or b"").decode(errors="replace")
            help = _SMALLER if status == _OUT_OF_MEMORY else _REPORT
            raise error("E0665", f"the CUDA driver refused: {name} failed with {status}: {said}", help=help)

    @property
    def arch(self) -> str:
        """The architecture, `sm_90`."""
        return f"sm_{self._attribute(_MAJOR)}{self._attribute(_MINOR)}"

    @property
    def shared(self) -> int:
        """Bytes of shared memory a block of threads can have."""
        return self._attribute(_SHARED_MOST)

    @property
    def bandwidth(self) -> float:
        """Bytes a second that its memory moves at most, by its clock and width; 0 where the driver does not say."""
        return 2 * 1e3 * self._attribute(_MEMORY_CLOCK) * self._attribute(_BUS_WIDTH) / 8

    @property
    def name(self) -> str:
        """What the GPU is called."""
        text = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", text, 256, self._device)
        return text.value.decode(errors="replace")

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), which, self._device)
        return value.value

    def synchronize(self) -> None:
        """Wait until everything that was launched has ended."""
        self.call("cuCtxSynchronize")

    def memory(self, size: int) -> Memory:
        """So many bytes, freed with the object."""
        place = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(max(1, size)))
        return Memory(self, place.value, size)


@dataclass(eq=False)
class Memory:
    """Memory of a GPU."""

    device: Device
    place: int
    size: int

    def write(self, array: NDArray[Any]) -> None:
        """Copy a contiguous array to its start."""
        data = ctypes.c_void_p(array.ctypes.data)
        self.device.call("cuMemcpyHtoD_v2", ctypes.c_uint64(self.place), data, ctypes.c_size_t(array.nbytes))

    def read(self, array: NDArray[Any]) -> None:
        """Fill a contiguous array from its start."""
        data = ctypes.c_void_p(array.ctypes.data)
        self.device.call("cuMemcpyDtoH_v2", data, ctypes.c_uint64(self.place), ctypes.c_size_t(array.nbytes))

    def behind(self, size: int) -> Memory:
        """What lies behind so many bytes, kept as long as it is in use."""
        return Part(self.device, self.place + size, self.size - size, self)

    def __del__(self) -> None:
        self.device.call("cuMemFree_v2", ctypes.c_uint64(self.place))


@dataclass(eq=False)
class Part(Memory):
    """A part of `whole`, which is freed with it."""

    whole: Memory

    def __del__(self) -> None:
        pass


@dataclass(eq=False)
class Loaded:
    """A program on a GPU: kernels from `code` (cubin or PTX), parameters in its memory."""

    program: Program
    code: bytes
    parameters: Arrays
    device: Device
    _held: dict[tuple[int, int], dict[str, Memory]] = field(
        default_factory=dict[tuple[int, int], "dict[str, Memory]"], repr=False
    )
    _states: dict[str, Memory] = field(default_factory=dict[str, Memory], repr=False)
    _remembered: int = 0

    @cached_property
    def _functions(self) -> dict[str, ctypes.c_void_p]:
        found: dict[str, ctypes.c_void_p] = {}
        self._module = ctypes.c_void_p()
        self.device.call("cuModuleLoadData", ctypes.byref(self._module), self.code + b"\0")
        for launch in self.program.launches:
            function = ctypes.c_void_p()
            name = launch.kernel.encode()
            self.device.call("cuModuleGetFunction", ctypes.byref(function), self._module, name)
            self.device.call("cuFuncSetAttribute", function, _SHARED_WANTED, launch.shared)
            found[launch.kernel] = function
        return found

    @cached_property
    def _weights(self) -> dict[str, Memory]:
        found: dict[str, Memory] = {}
        for name, array in self.parameters.items():
            found[name] = self.device.memory(array.nbytes)
            found[name].write(np.ascontiguousarray(array))
        return found

    def most(self, steps: int = 1) -> int:
        """Samples that one launch can take, or sequences of so many steps; E0512 for more steps than it can."""
        rows = self.program.most
        if steps > rows:
            text = f"a sequence has {steps} steps, kernels that count with 32 bits take {rows}"
            raise error("E0512", text, help="cut it into shorter ones; cells with `stateful = true` go on")
        return rows // steps

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs [batch, outputs] of contiguous inputs [batch, inputs], by way of the GPU's memory.

        Of sequences they are [batch, steps, outputs] and [batch, steps, inputs]. E0702 for states of another batch.
        """
        y = np.empty((*x.shape[:-1], self.program.outputs), np.float32)
        steps = x.shape[1] if self.program.sequences else 1
        most, states = self.most(steps), self.states(len(x))
        for start in range(0, len(x), most):
            part = x[start : start + most]
            memory = self.room(len(part), steps)
            memory |= {name: states[name].behind(4 * size * start) for name, size in self.program.states}
            memory["x"].write(part)
            self.launch(memory, len(part), steps=steps)
            self.device.synchronize()
            memory["y"].read(y[start : start + len(part)])
        return y

    def states(self, batch: int) -> dict[str, Memory]:
        """States of stateful cells, zero at first; E0702 if they are those of another batch."""
        if self.program.states and self._states:
            check_states(self._remembered, batch)
        elif self.program.states:
            self._remembered = batch
            for name, size in self.program.states:
                self._states[name] = self.device.memory(4 * size * batch)
                self._states[name].write(np.zeros(size * batch, np.float32))
        return self._states

    def reset(self) -> None:
        """Let stateful cells begin anew."""
        self._states.clear()

    def gradients(
        self, x: NDArray[np.float32], dy: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """Gradients at the inputs, and those of weights by the array of the program, of contiguous arrays."""
        dx = np.empty_like(x)
        sums = {name: np.zeros(shape, np.float32) for name, shape in self.program.gradients}
        for start in range(0, len(x), self.most()):
            stop = min(start + self.most(), len(x))
            memory = self.room(stop - start)
            memory["x"].write(x[start:stop])
            memory["dy"].write(dy[start:stop])
            self.launch(memory, stop - start, backward=True)
            self.device.synchronize()
            memory["dx"].read(dx[start:stop])
            for name, array in sums.items():
                part = np.empty_like(array)
                memory[name].read(part)
                array += part
        return dx, sums

    def room(self, batch: int, steps: int = 1) -> dict[str, Memory]:
        """Inputs `x`, outputs `y`, buffers and parameters for a batch; `dx`, `dy` and gradients if it has any."""
        if (batch, steps) not in self._held:
            rows, lanes = batch * steps, self.program.lanes
            sizes = {"x": rows * self.program.inputs, "y": rows * self.program.outputs}
            sizes |= {name: rows * columns for name, columns in self.program.arrays}
            sizes |= {name: -(-rows // lanes) * units * lanes for name, units in self.program.buffers}
            if self.program.gradients:
                sizes |= {"dx": sizes["x"], "dy": sizes["y"]}
                sizes |= {name: math.prod(shape) for name, shape in self.program.gradients}
            self._held.clear()
            self._held[batch, steps] = {name: self.device.memory(4 * size) for name, size in sizes.items()}
        return self._held[batch, steps] | self._weights

    def seconds(self, batch: int, steps: int = 1) -> dict[str, float]:
        """How long every kernel takes for a batch, by name: the fastest of several series launched in a row.

        Of sequences there are so many with so many steps; their states are then those that these leave.
        """
        memory, rows = self.room(batch, steps) | self.states(batch), batch * steps
        memory["x"].write(np.zeros((rows, self.program.inputs), np.float32))
        if self.program.gradients:
            memory["dy"].write(np.zeros((rows, self.program.outputs), np.float32))
        self.launch(memory, batch, backward=bool(self.program.gradients), steps=steps)
        numbers = self._numbers(batch, steps)
        return {
            one.kernel: fastest(partial(self._launch, one, memory, numbers, 0), self.device.synchronize)
            for one in self.program.launches
        }

    def _numbers(self, batch: int, steps: int = 1) -> dict[str, int]:
        rows = batch * steps
        return {"batch": batch, "steps": steps, "rows": rows, "tiles": -(-rows // self.program.lanes)}

    def launch(
        self, memory: Mapping[str, Memory], batch: int, stream: int = 0, backward: bool = False, steps: int = 1
    ) -> None:
        """Launch the kernels of the forward pass, or of both, without waiting for them."""
        numbers = self._numbers(batch, steps)
        for one in self.program.launches if backward else self.program.forward:
            self._launch(one, memory, numbers, stream)

    def _launch(self, one: Launch, memory: Mapping[str, Memory], numbers: Mapping[str, int], stream: int) -> None:
        values = [
            ctypes.c_uint64(memory[name].place) if name in memory else ctypes.c_int32(extent(name, numbers))
            for name in one.arguments
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        grid = [extent(text, numbers) for text in one.grid]
        where = ctypes.c_void_p(stream)
        self.device.call(
            "cuLaunchKernel", self._functions[one.kernel], *grid, *one.block, one.shared, where, pointers, None
        )


def fastest(call: Callable[[], object], wait: Callable[[], object], least: float = 0.02) -> float:
    """The fastest of several series of calls in seconds a call; series grow, so that waiting for the GPU is nothing."""
    call()
    wait()
    best, calls, end = float("inf"), 1, time.perf_counter() + least
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        wait()
        spent = time.perf_counter() - start
        best = min(best, spent / calls)
        calls = max(calls, min(1000, int(calls * _SERIES / max(spent, 1e-6)) or 1))
    return best


def check_shared(program: Program, device: Device) -> None:
    """Raise E0666 if a kernel needs more shared memory than the GPU has."""
    if program.shared > device.shared:
        text = f"a kernel needs {program.shared} bytes of shared memory, {device.name} has {device.shared}"
        raise error("E0666", text, help="use fewer lanes, or compile with fused=false")
