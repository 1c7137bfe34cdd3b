"""What both modules share: checks, the choice between compiled kernels and PyTorch's operations, weight files."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch

from pathc import driver
from pathc.ir.graph import Graph
from pathc.ir.interp import supports
from pathc.ir.misfits import plain_only
from pathc.ir.weights import expected_tensors, save_weights
from pathc.support.diagnostics import Diagnostic, PathcError, render_all
from pathc.torch.compiled import CompiledNet, Watch
from pathc.torch.engine import Engine
from pathc.torch.fallback import FallbackWarning, PlainNet

_HALVES = (torch.float16, torch.bfloat16)
_LAZY = ("_engine", "_plain", "_lock")
_LEVELS_UP = 6
"""From a note to the caller of the module, through `Module.__call__`."""


class GraphModule(torch.nn.Module):
    """A graph whose tensors are parameters.

    `compiled=False` always takes PyTorch's operations, which can be differentiated twice. `threads` is the
    most threads a call uses, those of PyTorch if None. Copies and pickles compile again when first called.
    """

    graph: Graph

    def __init__(self, graph: Graph, *, compiled: bool, threads: int | None) -> None:
        super().__init__()
        lacking = supports(graph) or self._refused(graph)
        if lacking:
            raise PathcError(*lacking)
        if threads is not None and threads < 1:
            raise ValueError(f"a call cannot use {threads} threads: give at least 1")
        self.graph = graph
        self.compiled = compiled
        self.threads = threads
        self.inputs = sum(station.real_units for station in graph.inputs)
        self.outputs = sum(station.real_units for station in graph.outputs)
        self._shapes = expected_tensors(graph)
        self._said: set[str] = set()
        self._start()

    def tensors(self) -> dict[str, torch.Tensor]:
        """The parameters by the names that weight files use, in their order."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs [..., outputs] of inputs [..., inputs]; several stations lie side by side.

        Raises TypeError for inputs that are no floating-point tensor, ValueError for another last dimension or device.
        """
        weights = self.tensors()
        kind = self._check(x, weights)
        rows = x.reshape(-1, self.inputs)
        y = self._choose(rows, weights, kind)
        return y.reshape(*x.shape[:-1], self.outputs)

    def save_weights(
        self, path: str | Path, *, metadata: Mapping[str, str] | None = None, dtype: str | None = None
    ) -> None:
        """Write a `.safetensors` or `.npz` file that `pathc run` takes, whole or not at all.

        `dtype` (`float32`, `float16`, `bfloat16`) converts; otherwise half types become float32. Raises PathcError
        E0503 to E0511, ValueError for tensors without values (on `meta`).
        """
        arrays: dict[str, Any] = {}
        for name, tensor in self.tensors().items():
            if tensor.is_meta:
                raise ValueError(f"`{name}` is on the device meta and has no values to save")
            tensor = tensor.detach()
            arrays[name] = (tensor.float() if tensor.dtype in _HALVES else tensor).numpy(force=True)
        save_weights(path, arrays, metadata=metadata, dtype=dtype)

    @torch.no_grad()
    def load_weights(self, path: str | Path) -> None:
        """Take the weights of a `.safetensors` or `.npz` file, converted to the parameters' type, in place.

        Raises PathcError E0501 to E0510, and then nothing has changed; ValueError for parameters on `meta`.
        """
        values = driver.weights_of(self.graph, path)
        tensors = self.tensors()
        if any(tensor.is_meta for tensor in tensors.values()):
            raise ValueError("parameters on the device meta hold no values: call `to_empty(device='cpu')` first")
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(values[name]))

    def reset_parameters(self, seed: int = 0) -> None:
        """Give all parameters their initial values; `seed` matters to random signs only."""
        values = driver.weights_of(self.graph, None, seed)
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(torch.from_numpy(values[name]))

    def _refused(self, graph: Graph) -> list[Diagnostic]:
        """What of a graph the module cannot compute."""
        return plain_only(graph, f"`{type(self).__name__}` has")

    # The choice

    def _choose(self, x: torch.Tensor, weights: Mapping[str, torch.Tensor], kind: torch.dtype) -> torch.Tensor:
        half = kind in _HALVES
        type_ = torch.float32 if half else kind
        if not all(tensor.dtype == type_ for tensor in weights.values()):
            weights = {name: tensor.to(type_) for name, tensor in weights.items()}
        x = x.to(type_)
        if not self.compiled:
            return self._run_plain(x, weights).to(kind)
        if x.device.type == "cpu" and type_ == torch.float32:
            if half:
                text = f"{kind} is computed in float32: inputs, weights and outputs are converted in every call"
                self._say(f"{text}; parameters of float32 save that")
            y = self._run_kernels(x, weights)
            return y.to(kind) if half else y
        text = f"there are no compiled kernels for {kind} on {x.device.type}, so PyTorch's operations are used: "
        cost = "every product of a path and a sample is stored, and a CPU takes about 20 times as long"
        self._say(f"{text}{cost}")
        return self._run_plain(x, weights).to(kind)

    def _run_kernels(
        self, x: torch.Tensor, weights: Mapping[str, torch.Tensor], watch: Watch | None = None
    ) -> torch.Tensor:
        """Outputs of rows by the compiled kernels; `watch` as for `CompiledNet`."""
        run = _outside_dynamo if torch.compiler.is_compiling() else _run_compiled
        return run(self, x, weights, watch)

    def _run_plain(self, x: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if self._plain is None:
            self._plain = PlainNet(self.graph)
        return self._plain(x, weights)

    def kernels(self) -> Engine:
        """The compiled kernels, made when first asked for."""
        with self._lock:
            if self._engine is None:
                self._engine = Engine(self.graph, self.threads or torch.get_num_threads())
        return self._engine

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            warnings.warn(f"{type(self).__name__}: {text}", FallbackWarning, stacklevel=_LEVELS_UP)

    # Checks

    def _check(self, x: object, weights: Mapping[str, torch.Tensor]) -> torch.dtype:
        """The type of the result; raises what is wrong with the input."""
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"the input is a {type(x).__name__}, not a torch.Tensor; use torch.as_tensor")
        if not x.dtype.is_floating_point:
            raise TypeError(f"E0513: the input is {x.dtype}, not floating point; convert it with `.float()`")
        if x.dim() == 0 or x.shape[-1] != self.inputs:
            raise ValueError(f"E0512: the input has shape {list(x.shape)}, the model needs [..., {self.inputs}]")
        kind = x.dtype
        for name, tensor in weights.items():
            if tuple(tensor.shape) != self._shapes[name]:
                text = f"tensor `{name}` has shape {list(tensor.shape)}, the model needs {list(self._shapes[name])}"
                raise ValueError(f"E0507: {text}")
            if tensor.device != x.device:
                text = f"the input is on {x.device}, tensor `{name}` on {tensor.device}"
                raise ValueError(f"{text}: move one of them with `.to()`")
            if not tensor.dtype.is_floating_point:
                raise TypeError(f"E0508: tensor `{name}` is {tensor.dtype}, not floating point")
            kind = torch.promote_types(kind, tensor.dtype)
        return kind

    # Copies

    def _start(self) -> None:
        self._engine: Engine | None = None
        self._plain: PlainNet | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _LAZY}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._start()


def _run_compiled(
    module: GraphModule, x: torch.Tensor, weights: Mapping[str, torch.Tensor], watch: Watch | None
) -> torch.Tensor:
    """Run the kernels; tensors that want no gradient are left out of the backward pass."""
    idle = frozenset(name for name, tensor in weights.items() if not tensor.requires_grad)
    frozen = idle if x.requires_grad or len(idle) < len(weights) else frozenset[str]()
    try:
        apply = cast("Callable[..., torch.Tensor]", CompiledNet.apply)
        return apply(module.kernels(), tuple(weights), frozen, watch, x, *weights.values())
    except PathcError as mistake:
        raise ValueError(render_all(mistake.diagnostics)) from mistake


_outside_dynamo: Callable[..., Any] = getattr(torch, "_disable_dynamo", torch.compiler.disable)(_run_compiled)
"""The same, where `torch.compile` breaks its graph; imports its machinery when called, not before."""


@contextmanager
def as_value_errors() -> Generator[None]:
    """Turn diagnostics into a ValueError with their text."""
    try:
        yield
    except PathcError as mistake:
        raise ValueError(render_all(mistake.diagnostics)) from mistake
