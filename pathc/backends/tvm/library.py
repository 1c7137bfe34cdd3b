"""Nets as shared libraries, loaded with apache-tvm-ffi alone: no TVM, arrays by DLPack.

`Library` is one of `tvm-llvm`, `GpuLibrary` one of `cuda`. Beside `net.so` lie `net.json`, which says what is called
with which arrays, and `net.params`, the packed weights. Loading a library runs it: load only files that you trust.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.tvm import facade
from pathc.backends.tvm.compiled import Lowered, stage
from pathc.backends.tvm.program import Program, extent
from pathc.backends.tvm.recurrent.plan import SequencePlan, check_states
from pathc.backends.tvm.shipped import library_of
from pathc.support.diagnostics import Diagnostic, UnavailableError, error
from pathc.support.files import memory_limit, read_bounded

_VERSION = 2
_CODE = re.compile(r"(E\d{4}): (.*)", re.DOTALL)
_NOT_HERE = {
    "E0664": "install NVIDIA's driver, check nvidia-smi, or compile for the processor with -t tvm-llvm",
    "E0674": "compile for this GPU with `-t 'cuda{arch=sm_NN}'`",
}
"""What keeps a library from running on this machine at all, with the cure."""


def artefact(lowered: Lowered, parameters: Mapping[str, NDArray[Any]], cpu: str, kind: str) -> str | bytes:
    """A library `so` with its `json` and `params`, or a stage as text; E0670, E0804."""
    match kind:
        case "so":
            return library_of(lowered, cpu)
        case "json":
            return description(lowered)
        case "params":
            from safetensors.numpy import save

            return save(dict(parameters))
        case _:
            return stage(lowered, kind)


def description(lowered: Lowered) -> str:
    """Functions in order with their arrays, as JSON: `x` and `y`, buffers [tiles, units, lanes], parameters.

    Nets with extents have `arrays` [batch, floats] between functions. Nets with cells take the steps of all sequences
    as rows, have `arrays` [rows, columns], and `states` [batch, numbers] that are handed on from call to call; the
    `numbers` that a function takes behind its arrays are `batch`, `steps` and quotients of these, rounded up.
    """
    plan = lowered.plan
    calls: list[dict[str, Any]] = [
        {
            "name": f.name,
            "arguments": [a.key for a in f.arguments],
            "numbers": [f.called(name) for name in f.scalars],
        }
        for f in lowered.functions
    ]
    sizes = {"lanes": plan.lanes, "inputs": plan.inputs, "outputs": plan.outputs}
    record: dict[str, Any] = {"version": _VERSION, "name": plan.name, **sizes, "buffers": plan.buffers}
    if isinstance(plan, SequencePlan):
        record |= {"arrays": plan.arrays, "states": plan.states}
    elif plan.filters:
        record["arrays"] = list(plan.filters.arrays.items())
    return json.dumps(record | {"functions": calls}, indent=1) + "\n"


class Library:
    """A net loaded from `net.so` with the files beside it; E0663 for a description that cannot be read."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        try:
            record = json.loads(read_bounded(path.with_suffix(".json")))
            if record["version"] != _VERSION:
                raise ValueError("it is of another version")
            self._lanes, self.inputs, self.outputs = (int(record[key]) for key in ("lanes", "inputs", "outputs"))
            self._buffers, self._arrays, self._sizes = (
                [(str(name), int(size)) for name, size in record.get(key, ())]
                for key in ("buffers", "arrays", "states")
            )
            calls = [_Call.of(call) for call in record["functions"]]
            if min(self._lanes, self.inputs, self.outputs) < 1:
                raise ValueError("sizes are not positive")
        except (ValueError, KeyError, TypeError, RecursionError) as reason:
            raise error("E0663", f"the description of kernels cannot be read: {reason}") from reason
        self._weights = {name: _aligned(array) for name, array in _parameters(path).items()}
        module = _module(path)
        self._calls = [(module[call.name], call) for call in calls]
        self._states: dict[str, NDArray[Any]] = {}

    def __call__(self, x: Any, /) -> NDArray[np.float32]:
        """Outputs [batch, outputs] of inputs [batch, inputs]: float32 arrays by DLPack; E0502, E0512.

        Nets with cells take and give [batch, steps, units]; stateful ones go on where the last call ended (E0702).
        """
        rows = np.ascontiguousarray(np.from_dlpack(x))
        sequences = any("steps" in call.numbers for _, call in self._calls)
        axes = ("batch", "steps", self.inputs) if sequences else ("batch", self.inputs)
        if rows.ndim != len(axes) or rows.shape[-1] != self.inputs or rows.dtype != np.float32:
            wanted = ", ".join(map(str, axes))
            raise error("E0512", f"the input is {rows.dtype} {list(rows.shape)}, not float32 [{wanted}]")
        batch, steps = rows.shape[0], rows.shape[1] if sequences else 1
        tiles, y = -(-batch * steps // self._lanes), np.empty((batch * steps, self.outputs), np.float32)
        needed = 4 * tiles * self._lanes * sum(size for _, size in (*self._buffers, *self._arrays))
        if needed > memory_limit():
            raise error("E0502", f"buffers need {needed} bytes, the memory can take {memory_limit()}")
        for name, size in self._sizes:
            check_states(len(self._states.setdefault(name, _aligned(np.zeros((batch, size), np.float32)))), batch)
        arrays = self._weights | self._states | {"x": rows.reshape(-1, self.inputs), "y": y}
        arrays |= {name: _aligned(np.empty((batch * steps, size), np.float32)) for name, size in self._arrays}
        arrays |= {name: _aligned(np.empty((tiles, units, self._lanes), np.float32)) for name, units in self._buffers}
        numbers = {"batch": batch, "steps": steps, "rows": batch * steps, "tiles": tiles}
        for function, call in self._calls:
            function(*_chosen(arrays, call.arguments), *(extent(number, numbers) for number in call.numbers))
        return y.reshape(*rows.shape[:-1], self.outputs)

    def reset(self) -> None:
        """Let stateful cells begin anew."""
        self._states.clear()


@dataclass(frozen=True)
class _Call:
    """A function with the keys of its arguments, and the numbers it takes behind them."""

    name: str
    arguments: tuple[str, ...]
    numbers: tuple[str, ...]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> _Call:
        """The call that a description names."""
        return cls(str(record["name"]), tuple(map(str, record["arguments"])), tuple(map(str, record["numbers"])))


class GpuLibrary:
    """A net loaded from the `net.so` of a GPU with the files beside it; E0663 for a description that cannot be read.

    Arrays lie on the GPU and stay there; kernels are launched on its current stream, which is PyTorch's for tensors of
    PyTorch and else that of `tvm_ffi.use_raw_stream`, and nothing waits for them.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        text = read_bounded(path.with_suffix(".json")).decode(errors="replace")
        program, kept = Program.from_json(text), _parameters(path)
        try:
            self._weights = [np.ascontiguousarray(kept[str(name)]) for name in json.loads(text)["weights"]]
        except (KeyError, TypeError) as reason:
            text = f"the description of kernels cannot be read: it does not go with the weights: {reason}"
            raise error("E0663", text) from reason
        self.inputs, self.outputs = program.inputs, program.outputs
        self.gradient_names = tuple(name for name, _ in program.gradients)
        self._module = _module(path)
        self._there: dict[int, list[Any]] = {}
        self._sizes = [size for _, size in program.states]
        self._states: dict[int, tuple[int, list[Any]]] = {}

    def __call__(self, x: Any, /) -> Any:
        """Outputs [batch, outputs] of inputs [batch, inputs], float32 on a GPU: a tensor of PyTorch if `x` is one, else
        a tvm_ffi.Tensor, which all that speaks DLPack takes without copying.

        Nets with cells take and give [batch, steps, units]; stateful ones go on where the last call on that GPU ended.

        Raises E0512 for an array that does not fit, E0371 without steps, E0702 for states of another batch, E0665 and
        E0666; UnavailableError E0664 and E0674.
        """
        return self._told(lambda: self._forward(x))

    def reset(self) -> None:
        """Let stateful cells begin anew, in new memory: graphs that were captured before must be captured again."""
        self._states.clear()

    def gradients(self, x: Any, dy: Any, /) -> tuple[Any, dict[str, Any]]:
        """Gradients at the inputs, and those of weights by the array of the program, all on the GPU.

        Raises as a call does, and E0667 for a library without a backward pass.
        """
        if not self.gradient_names:
            raise error("E0667", "this net was compiled without a backward pass", help="cuda{gradients=true}")
        dx, *sums = self._told(lambda: self._module["gradients"](x, dy, *self._on(x)))
        return dx, dict(zip(self.gradient_names, sums, strict=True))

    def _on(self, x: Any) -> list[Any]:
        """The weights in the memory of the GPU where an array lies."""
        device = _device_of(x)
        if device not in self._there:
            self._there[device] = [self._module["upload"](array, device) for array in self._weights]
        return self._there[device]

    def _forward(self, x: Any) -> Any:
        weights = self._on(x)
        if not self._sizes:
            return self._module["forward"](x, *weights)
        device, batch = _device_of(x), int(next(iter(x.shape), 0))
        remembered, states = self._states.get(device) or (batch, self._zeros(batch, device))
        check_states(remembered, batch)
        y = self._module["forward"](x, *weights, *states)
        self._states[device] = batch, states
        return y

    def _zeros(self, batch: int, device: int) -> list[Any]:
        """The states of sequences that begin."""
        return [self._module["upload"](np.zeros((batch, size), np.float32), device) for size in self._sizes]

    def _told(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (RuntimeError, ValueError, TypeError) as reason:
            told = _CODE.search(str(reason))
            if told is None:
                raise
            code, words = told[1], told[2].strip()
            if code in _NOT_HERE:
                raise UnavailableError(Diagnostic(code, words, help=_NOT_HERE[code])) from reason
            raise error(code, words) from reason


def _device_of(x: Any) -> int:
    try:
        return int(x.__dlpack_device__()[1])
    except AttributeError:
        raise error("E0512", f"`x` is no array that speaks DLPack, but {type(x).__name__}") from None


def _parameters(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(read_bounded(path.with_suffix(".params")))
    except (SafetensorError, KeyError) as reason:
        raise error("E0663", f"the weights beside a library cannot be read: {reason}") from reason


def _module(path: Path) -> Any:
    try:
        return import_module("tvm_ffi").load_module(str(path.resolve()))
    except (RuntimeError, OSError, ValueError) as reason:
        raise error("E0663", f"the library `{path}` cannot be loaded: {str(reason).strip()}") from reason


def _chosen(arrays: dict[str, NDArray[Any]], keys: Sequence[str]) -> list[NDArray[Any]]:
    if missing := [key for key in keys if key not in arrays]:
        raise error("E0663", f"the description of kernels names `{missing[0]}`, which is no array of the net")
    return [arrays[key] for key in keys]


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    return facade.aligned_copy(array)
