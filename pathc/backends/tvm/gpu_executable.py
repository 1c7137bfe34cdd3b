"""What all executables of the target `cuda` have in common: a program with its parameters, compiled and launched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

from pathc.backends.tvm import driver, nvrtc
from pathc.backends.tvm.cu_file import cu_file
from pathc.backends.tvm.gpu_library import gpu_library
from pathc.backends.tvm.pack import Packed
from pathc.backends.tvm.program import Program

WRITTEN = ("cuda", "cu", "ptx", "cubin", "so", "report", "json", "params")
"""Stages from CUDA text on."""
_LAUNCHED = ("cu", "ptx", "cubin", "so")


class GpuExecutable(ABC):
    """Kernels for a GPU; each stage is made when it is first asked for.

    Raises UnavailableError E0660 where PTX or cubin is asked for without NVRTC, E0664 where it is called without GPU.
    """

    arch: str

    @abstractmethod
    def write(self) -> Program:
        """The program anew."""

    @abstractmethod
    def pack(self) -> Packed:
        """The parameters anew."""

    @abstractmethod
    def report(self) -> str:
        """What the kernels take of a GPU."""

    @abstractmethod
    def stage(self, kind: str) -> str:
        """A stage in front of CUDA text; E0804 for one that there is not."""

    @cached_property
    def program(self) -> Program:
        """CUDA text and launches."""
        return self.write()

    @cached_property
    def parameters(self) -> Packed:
        """Packed weights by name."""
        return self.pack()

    @cached_property
    def binary(self) -> nvrtc.Binary:
        """PTX, cubin and what they take of the GPU."""
        return nvrtc.compile_text(self.program.text, self.arch)

    @cached_property
    def loaded(self) -> driver.Loaded:
        """The program on the GPU of this machine."""
        gpu = driver.device()
        driver.check_shared(self.program, gpu)
        return driver.Loaded(self.program, self.binary.cubin, self.parameters, gpu)

    def emit(self, kind: str) -> str | bytes:
        """A stage as text or bytes: one of WRITTEN, or one in front of them."""
        match kind:
            case "cuda":
                return self.program.text
            case "cu":
                return cu_file(self.program, self.parameters)
            case "ptx":
                return self.binary.ptx
            case "cubin":
                return self.binary.cubin
            case "so":
                return gpu_library(self.program, self.parameters, self.binary)
            case "report":
                return self.report()
            case "json":
                return self.program.as_json(self.parameters)
            case "params":
                from safetensors.numpy import save

                return save(dict(self.parameters))
            case _:
                return self.stage(kind)

    def companions(self, kind: str) -> tuple[str, ...]:
        """What is written beside a stage so that it can be launched elsewhere."""
        return ("json", "params") if kind in _LAUNCHED else ()
