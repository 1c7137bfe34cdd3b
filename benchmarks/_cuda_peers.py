"""What `cuda.py` measures beside: dense layers under CUDA graphs, sparse products of cuSPARSE; and graphs of nets."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pathc.backends.tvm import driver
from pathc.backends.tvm.driver import fastest

Seconds = dict[str, float | str]
"""Seconds by name, or why there are none."""
_NON_BLOCKING, _RELAXED = 1, 2
"""A stream that does not wait for others, and captures that only it takes part in."""
PEERS = ("dense f32", "dense tf32", "dense bf16", "csr torch", "csr cupy")


class Dense(Protocol):
    """Layers of PyTorch that are as wide as a net, without paths."""

    def call(self, torch: Any, batch: int, dtype: Any, device: str = "cuda") -> Callable[[], Any]:
        """What computes a batch when it is called."""
        ...


@dataclass(frozen=True)
class Chain:
    """Rectified products with matrices."""

    units: tuple[int, ...]

    def call(self, torch: Any, batch: int, dtype: Any, device: str = "cuda") -> Callable[[], Any]:
        """What computes a batch when it is called."""
        y = torch.randn(batch, self.units[0], device=device, dtype=dtype)
        matrices = [torch.randn(n, m, device=device, dtype=dtype) for n, m in pairwise(self.units)]
        return lambda: _chain(y, matrices, lambda y, matrix: torch.relu(y @ matrix))


@dataclass(frozen=True)
class Convolution:
    """cuDNN's rectified 3x3 filters over all channels, channels last, as it likes them."""

    channels: int
    extent: int

    def call(self, torch: Any, batch: int, dtype: Any, device: str = "cuda") -> Callable[[], Any]:
        """What computes a batch when it is called."""
        layer = torch.nn.Conv2d(self.channels, self.channels, 3, padding=1, bias=False)
        layer = layer.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        x = torch.randn(batch, self.channels, self.extent, self.extent, device=device, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        return _without_gradients(torch, lambda: torch.relu(layer(x)))


@dataclass(frozen=True)
class Recurrent:
    """cuDNN's RNN, LSTM or GRU with full matrices, on sequences of so many steps."""

    kind: str
    units: int
    steps: int

    def call(self, torch: Any, batch: int, dtype: Any, device: str = "cuda") -> Callable[[], Any]:
        """What computes a batch when it is called."""
        layer = getattr(torch.nn, self.kind)(self.units, self.units, batch_first=True).to(device=device, dtype=dtype)
        x = torch.randn(batch, self.steps, self.units, device=device, dtype=dtype)
        return _without_gradients(torch, lambda: layer(x)[0])


def _without_gradients(torch: Any, run: Callable[[], Any]) -> Callable[[], Any]:
    def call() -> Any:
        with torch.no_grad():
            return run()

    return call


def beside(folder: Path, name: str, dense: Dense, batch: int, least: float) -> Seconds:
    """Seconds of other libraries on dense layers of the same sizes, and on sparse ones of the net's own edges."""
    found: Seconds = {}
    try:
        import torch
    except ModuleNotFoundError:
        found |= dict.fromkeys(PEERS[:3], "PyTorch is not installed")
        torch = None
    else:
        for peer, precision, dtype in (
            ("dense f32", "highest", torch.float32),
            ("dense tf32", "high", torch.float32),
            ("dense bf16", "highest", torch.bfloat16),
        ):
            found[peer] = _tried(lambda p=precision, t=dtype: _dense(torch, dense, batch, p, t, least))
    if not isinstance(dense, Chain):
        return found
    units = dense.units
    with np.load(folder / f"{name}-work.npz", allow_pickle=False) as kept:
        edges = [(kept[f"src{k}"], kept[f"dst{k}"], kept[f"weight{k}"]) for k in range(len(units) - 1)]
    found["csr torch"] = "PyTorch is not installed"
    if torch is not None:
        found["csr torch"] = _tried(lambda: _csr(torch, edges, units, batch, least))
    found["csr cupy"] = _tried(lambda: _cupy(edges, units, batch, least))
    return found


def graph_seconds(gpu: driver.Device, launch: Callable[..., object], least: float) -> float | str:
    """Seconds of launches that are captured as a graph, as the dense layers are; it needs the driver alone."""

    def measure() -> float:
        stream, graph, ready = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        gpu.call("cuStreamCreate", ctypes.byref(stream), _NON_BLOCKING)
        gpu.call("cuStreamBeginCapture_v2", stream, _RELAXED)
        launch(stream=stream.value)
        gpu.call("cuStreamEndCapture", stream, ctypes.byref(graph))
        gpu.call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_uint64(0))
        return fastest(lambda: gpu.call("cuGraphLaunch", ready, stream), gpu.synchronize, least)

    return _tried(measure)


def measured_peaks(least: float) -> Seconds:
    """Operations a second of PyTorch's dense products of 8192 x 8192, which is what a GPU gives at best."""
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    size = 8192
    cases = (("f32", "highest", torch.float32), ("tf32", "high", torch.float32), ("bf16", "highest", torch.bfloat16))
    spent = {
        name: _tried(lambda p=precision, t=dtype: _dense(torch, Chain((size, size)), size, p, t, least))
        for name, precision, dtype in cases
    }
    return {name: value if isinstance(value, str) else 2 * size**3 / value for name, value in spent.items()}


def _tried(measure: Callable[[], float]) -> float | str:
    """A figure, or the words of what kept it from being measured."""
    try:
        return measure()
    except Exception as reason:
        return f"{type(reason).__name__}: {' '.join(str(reason).split())[:120]}"


def _dense(torch: Any, dense: Dense, batch: int, precision: str, dtype: Any, least: float) -> float:
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    torch.set_float32_matmul_precision(precision)
    cudnn.allow_tf32 = precision == "high"
    try:
        return _timed(torch, dense.call(torch, batch, dtype), least)
    finally:
        torch.set_float32_matmul_precision("highest")
        cudnn.allow_tf32 = before


def _csr(torch: Any, edges: list[Any], units: tuple[int, ...], batch: int, least: float) -> float:
    matrices = []
    for at, (src, dst, weight) in enumerate(edges):
        places = torch.from_numpy(np.stack([dst, src])).cuda()
        shape = (units[at + 1], units[at])
        coo = torch.sparse_coo_tensor(places, torch.from_numpy(weight).cuda(), shape)
        matrices.append(coo.coalesce().to_sparse_csr())
    y = torch.randn(units[0], batch, device="cuda")
    return _timed(torch, lambda: _chain(y, matrices, lambda y, matrix: torch.relu(matrix @ y)), least)


def _cupy(edges: list[Any], units: tuple[int, ...], batch: int, least: float) -> float:
    import cupy
    from cupyx.scipy import sparse

    matrices = [
        sparse.csr_matrix(
            (cupy.asarray(weight), (cupy.asarray(dst), cupy.asarray(src))), shape=(units[at + 1], units[at])
        )
        for at, (src, dst, weight) in enumerate(edges)
    ]
    y = cupy.random.standard_normal((units[0], batch), dtype=cupy.float32)
    run = lambda: _chain(y, matrices, lambda y, matrix: cupy.maximum(matrix @ y, 0))  # noqa: E731
    return fastest(run, cupy.cuda.get_current_stream().synchronize, least)


def _chain(y: Any, matrices: list[Any], step: Callable[[Any, Any], Any]) -> Any:
    for matrix in matrices:
        y = step(y, matrix)
    return y


def _timed(torch: Any, run: Callable[[], object], least: float) -> float:
    """The fastest of several series, captured as a graph where that can be."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    call = run
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        call = graph.replay
    except RuntimeError:
        torch.cuda.synchronize()
    return fastest(call, torch.cuda.synchronize, least)
