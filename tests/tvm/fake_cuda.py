"""A CUDA driver whose GPU is the processor: memory is NumPy's, kernels are executed as `gpu_on_cpu` does."""

from __future__ import annotations

import ctypes

import gpu_on_cpu as gpu
import numpy as np


class FakeCuda:
    """The functions of libcuda that pathc calls, for one program whose CUDA text is known."""

    def __init__(self, text: str = "", devices: int = 1, shared: int = 232448) -> None:
        self.text, self.devices, self.shared = text, devices, shared
        self.held: dict[int, np.ndarray] = {}
        self.launched: list[str] = []
        self.allowed: dict[int, int] = {}
        self.kernels: list[str] = []
        self.captured: list[tuple[str, tuple[int, ...], list[int]]] | None = None
        self.captured: list[tuple[object, ...]] | None = None
        self.graphs: list[list[tuple[object, ...]]] = []

    def cuInit(self, flags):  # noqa: N802
        return 0

    def cuDeviceGet(self, handle, number):  # noqa: N802
        return 0 if number < self.devices else 101

    def cuDevicePrimaryCtxRetain(self, context, device):  # noqa: N802
        return 0

    def cuCtxSetCurrent(self, context):  # noqa: N802
        return 0

    def cuCtxSynchronize(self):  # noqa: N802
        return 0

    def cuGetErrorString(self, status, words):  # noqa: N802
        words._obj.value = b"out of memory"
        return 0

    def cuDeviceGetName(self, text, size, device):  # noqa: N802
        text.value = b"a processor"
        return 0

    def cuDeviceGetAttribute(self, value, which, device):  # noqa: N802
        value._obj.value = {75: 9, 76: 0, 36: 1_000_000, 37: 512, 97: self.shared}[which]
        return 0

    def cuMemAlloc_v2(self, place, size):  # noqa: N802
        if size.value > 1 << 30:
            return 2
        memory = np.full(size.value + 64, 0xFF, np.uint8)
        place._obj.value = memory.ctypes.data + -memory.ctypes.data % 64
        self.held[place._obj.value] = memory
        return 0

    def cuMemFree_v2(self, place):  # noqa: N802
        del self.held[place.value]
        return 0

    def cuMemcpyHtoD_v2(self, to, data, size):  # noqa: N802
        ctypes.memmove(to.value, data.value, size.value)
        return 0

    def cuMemcpyDtoH_v2(self, data, place, size):  # noqa: N802
        ctypes.memmove(data.value, place.value, size.value)
        return 0

    def cuModuleLoadData(self, module, code):  # noqa: N802
        assert code.startswith(b"\x7fELF")
        return 0

    def cuModuleGetFunction(self, function, module, name):  # noqa: N802
        self.kernels.append(name.decode())
        function._obj.value = len(self.kernels)
        return 0

    def cuFuncSetAttribute(self, function, which, value):  # noqa: N802
        assert which == 8
        self.allowed[function.value] = value
        return 0

    def cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, arguments, extra):  # noqa: N802
        assert self.allowed[function.value] >= shared
        name, extents = self.kernels[function.value - 1], (gx, gy, gz, bx, by, bz)
        if stream.value and self.captured is not None:
            self.captured.append((name, extents, [ctypes.c_uint64.from_address(place).value for place in arguments]))
            return 0
        return self.launch(name, extents, arguments)

    def launch(self, name, extents, arguments):
        run = gpu.build(self.text)[f"run_{name}"]
        run.argtypes = [ctypes.c_void_p, gpu.Extent, gpu.Extent, ctypes.c_int]
        self.launched.append(name)
        return run(arguments, gpu.Extent(*extents[:3]), gpu.Extent(*extents[3:]), 0)

    def cuStreamCreate(self, stream, flags):  # noqa: N802
        stream._obj.value = 1
        return 0

    def cuStreamBeginCapture_v2(self, stream, mode):  # noqa: N802
        self.captured = []
        return 0

    def cuStreamEndCapture(self, stream, graph):  # noqa: N802
        graph._obj.value = 1
        return 0

    def cuGraphInstantiateWithFlags(self, ready, graph, flags):  # noqa: N802
        ready._obj.value = graph.value
        return 0

    def cuGraphLaunch(self, ready, stream):  # noqa: N802
        for name, extents, values in self.captured:
            held = (ctypes.c_uint64 * max(1, len(values)))(*values)
            places = [ctypes.addressof(held) + 8 * at for at in range(len(values))]
            fault = self.launch(name, extents, (ctypes.c_void_p * len(values))(*places))
            if fault:
                return fault
        return 0
