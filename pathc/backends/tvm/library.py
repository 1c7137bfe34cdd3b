"""A net of `tvm-llvm` as a shared library, loaded with apache-tvm-ffi alone: no TVM, arrays by DLPack.

Beside `net.so` lie `net.json`, which says what is called with which arrays, and `net.params`, the packed weights.
Loading a library runs it: load only files that you trust.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.tvm.compiled import Lowered
from pathc.support.diagnostics import error
from pathc.support.files import memory_limit, read_bounded

_VERSION = 1


def description(lowered: Lowered) -> str:
    """Functions in order with their arrays, as JSON: `x` and `y`, buffers [tiles, units, lanes], parameters."""
    plan = lowered.plan
    calls = [{"name": f.name, "arguments": [a.key for a in f.arguments]} for f in lowered.functions]
    sizes = {"lanes": plan.lanes, "inputs": plan.inputs, "outputs": plan.outputs}
    record = {"version": _VERSION, "name": plan.name, **sizes, "buffers": plan.buffers, "functions": calls}
    return json.dumps(record, indent=1) + "\n"


class Library:
    """A net loaded from `net.so` with the files beside it; E0663 for a description that cannot be read."""

    def __init__(self, path: str | Path) -> None:
        from safetensors.numpy import load

        path = Path(path)
        try:
            record = json.loads(read_bounded(path.with_suffix(".json")))
            if record["version"] != _VERSION:
                raise ValueError("it is of another version")
            self._lanes, self.inputs, self.outputs = (int(record[key]) for key in ("lanes", "inputs", "outputs"))
            self._buffers = [(str(name), int(units)) for name, units in record["buffers"]]
            calls = [(str(call["name"]), [str(key) for key in call["arguments"]]) for call in record["functions"]]
            if min(self._lanes, self.inputs, self.outputs) < 1:
                raise ValueError("sizes are not positive")
        except (ValueError, KeyError, TypeError, RecursionError) as reason:
            raise error("E0663", f"the description of kernels cannot be read: {reason}") from reason
        self._weights = {
            name: _aligned(array) for name, array in load(read_bounded(path.with_suffix(".params"))).items()
        }
        module: Any = import_module("tvm_ffi").load_module(str(path.resolve()))
        self._calls = [(module[name], keys) for name, keys in calls]

    def __call__(self, x: Any, /) -> NDArray[np.float32]:
        """Outputs [batch, outputs] of inputs [batch, inputs]: float32 arrays by DLPack; E0502, E0512."""
        rows = np.ascontiguousarray(np.from_dlpack(x))
        if rows.ndim != 2 or rows.shape[1] != self.inputs or rows.dtype != np.float32:
            text = f"the input is {rows.dtype} {list(rows.shape)}, not float32 [batch, {self.inputs}]"
            raise error("E0512", text)
        tiles, y = -(-len(rows) // self._lanes), np.empty((len(rows), self.outputs), np.float32)
        needed = 4 * tiles * self._lanes * sum(units for _, units in self._buffers)
        if needed > memory_limit():
            raise error("E0502", f"buffers need {needed} bytes, the memory can take {memory_limit()}")
        arrays = self._weights | {"x": rows, "y": y}
        arrays |= {name: _aligned(np.empty((tiles, units, self._lanes), np.float32)) for name, units in self._buffers}
        for function, keys in self._calls:
            function(*_chosen(arrays, keys))
        return y


def _chosen(arrays: dict[str, NDArray[Any]], keys: Sequence[str]) -> list[NDArray[Any]]:
    if missing := [key for key in keys if key not in arrays]:
        raise error("E0663", f"the description of kernels names `{missing[0]}`, which is no array of the net")
    return [arrays[key] for key in keys]


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    from pathc.backends.tvm.facade import aligned_copy

    return aligned_copy(array)
