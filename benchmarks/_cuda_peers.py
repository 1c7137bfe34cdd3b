"""What `cuda.py` measures beside: dense products under CUDA graphs, sparse ones of cuSPARSE, a library in a graph."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pathc.backends.tvm.driver import fastest

Seconds = dict[str, float | str]
"""Seconds by name, or why there are none."""
PEERS = ("dense f32", "dense tf32", "dense bf16", "csr torch", "csr cupy")


def beside(folder: Path, name: str, units: tuple[int, ...], batch: int, least: float) -> Seconds:
    """Seconds of other libraries on a chain of matrices of the same sizes; the sparse ones have the net's own edges."""
    found: Seconds = {}
    with np.load(folder / f"{name}-edges.npz", allow_pickle=False) as kept:
        edges = [(kept[f"src{k}"], kept[f"dst{k}"], kept[f"weight{k}"]) for k in range(len(units) - 1)]
    try:
        import torch
    except ModuleNotFoundError:
        found |= dict.fromkeys(PEERS[:4], "PyTorch is not installed")
    else:
        for peer, precision, dtype in (
            ("dense f32", "highest", torch.float32),
            ("dense tf32", "high", torch.float32),
            ("dense bf16", "highest", torch.bfloat16),
        ):
            found[peer] = _tried(lambda p=precision, t=dtype: _dense(torch, units, batch, p, t, least))
        found["csr torch"] = _tried(lambda: _csr(torch, edges, units, batch, least))
    found["csr cupy"] = _tried(lambda: _cupy(edges, units, batch, least))
    return found


def captured(path: Path, batch: int, inputs: int, least: float) -> float | str:
    """Seconds of a library called on PyTorch's tensors and captured as a graph, as the dense products are."""
    return _tried(lambda: _captured(path, batch, inputs, least))


def measured_peaks(least: float) -> Seconds:
    """Operations a second of PyTorch's dense products of 8192 x 8192, which is what a GPU gives at best."""
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    size = 8192
    cases = (("f32", "highest", torch.float32), ("tf32", "high", torch.float32), ("bf16", "highest", torch.bfloat16))
    spent = {
        name: _tried(lambda p=precision, t=dtype: _dense(torch, (size, size), size, p, t, least))
        for name, precision, dtype in cases
    }
    return {name: value if isinstance(value, str) else 2 * size**3 / value for name, value in spent.items()}


def _tried(measure: Callable[[], float]) -> float | str:
    """A figure, or the words of what kept it from being measured."""
    try:
        return measure()
    except Exception as reason:
        return f"{type(reason).__name__}: {' '.join(str(reason).split())[:120]}"


def _dense(torch: Any, units: tuple[int, ...], batch: int, precision: str, dtype: Any, least: float) -> float:
    torch.set_float32_matmul_precision(precision)
    try:
        y = torch.randn(batch, units[0], device="cuda", dtype=dtype)
        matrices = [torch.randn(n, m, device="cuda", dtype=dtype) for n, m in pairwise(units)]
        return _timed(torch, lambda: _chain(y, matrices, lambda y, matrix: torch.relu(y @ matrix)), least)
    finally:
        torch.set_float32_matmul_precision("highest")


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


def _captured(path: Path, batch: int, inputs: int, least: float) -> float:
    import torch

    from pathc.backends.tvm.library import GpuLibrary

    net = GpuLibrary(path)
    x = torch.zeros(batch, inputs, device="cuda")
    return _timed(torch, lambda: net(x), least, must=True)


def _timed(torch: Any, run: Callable[[], object], least: float, must: bool = False) -> float:
    """The fastest of several series, captured as a graph where that can be (where it `must`, else an error)."""
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
        if must:
            raise
    return fastest(call, torch.cuda.synchronize, least)
