"""Other libraries on the same net, each in the form that suits it best."""

from __future__ import annotations

import importlib.util
import warnings
from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

import numpy as np

from pathc.bench import mkl
from pathc.bench.network import Edges, Step, Values
from pathc.support.diagnostics import Diagnostic, UsageError, did_you_mean


class Peer(ABC):
    """A library that multiplies activations [units, batch], or [units] alone, by sparse matrices."""

    name: str
    module: str
    install: str

    def missing(self) -> str:
        """How to install the library, empty if it is there."""
        return "" if importlib.util.find_spec(self.module) else f"pip install {self.install}"

    @abstractmethod
    def step(self, edges: Edges) -> Step:
        """What multiplies activations by a junction."""

    def given(self, x: Values) -> Any:
        """Inputs [batch, units] as [units, batch], one sample as [units]."""
        return np.ascontiguousarray(x[0] if len(x) == 1 else x.T)

    def taken(self, values: Any) -> Values:
        """The library's values as [batch, units]."""
        return np.atleast_2d(np.asarray(values).T)

    def bias(self, values: Values, batch: int) -> Any:
        """A bias [units] that adds to the library's values."""
        return values if batch == 1 else values[:, None]

    def relu(self, values: Any) -> Any:
        """max(0, x) in place."""
        return np.maximum(values, 0.0, out=values)


class Numpy(Peer):
    """Dense matrices, zeros included."""

    name, module, install = "numpy", "numpy", "numpy"

    def step(self, edges: Edges) -> Step:
        """`dense @ x`."""
        dense = np.zeros(edges.shape, np.float32)
        dense[edges.dst, edges.src] = edges.weight
        return lambda values: dense @ values


class Scipy(Peer):
    """CSR matrices."""

    name, module, install = "scipy", "scipy", "scipy"

    def step(self, edges: Edges) -> Step:
        """`csr @ x`."""
        sparse: Any = import_module("scipy.sparse")
        starts, columns, weight = edges.rows()
        matrix = sparse.csr_matrix((weight, columns, starts), shape=edges.shape)
        return lambda values: matrix @ values


class Mkl(Peer):
    """Intel MKL's sparse products, matrices inspected once and for many calls."""

    name, module, install = "mkl", "mkl", "mkl"

    def missing(self) -> str:
        """How to install the library, empty if it is there."""
        try:
            mkl.library()
        except (OSError, AttributeError) as fault:
            return f"pip install {self.install}   ({fault})"
        return ""

    def step(self, edges: Edges) -> Step:
        """`mkl_sparse_s_mm`, `mkl_sparse_s_mv` for one sample."""
        starts, columns, weight = edges.rows()
        return mkl.Products(starts.astype(np.int32), columns.astype(np.int32), weight, edges.shape)


class Torch(Peer):
    """torch's CSR tensors."""

    name, module, install = "torch", "torch", "torch --index-url https://download.pytorch.org/whl/cpu"

    def step(self, edges: Edges) -> Step:
        """`csr @ x`."""
        torch: Any = import_module(self.module)
        parts = map(torch.from_numpy, edges.rows())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            matrix = torch.sparse_csr_tensor(*parts, size=edges.shape, check_invariants=True)
        return lambda values: matrix @ values

    def given(self, x: Values) -> Any:
        """A tensor [units, batch], one sample as [units, 1]."""
        return import_module(self.module).from_numpy(np.ascontiguousarray(x.T))

    def bias(self, values: Values, batch: int) -> Any:
        """A tensor [units, 1]."""
        return import_module(self.module).from_numpy(values[:, None])

    def relu(self, values: Any) -> Any:
        """max(0, x) in place."""
        return values.clamp_(min=0.0)


PEERS: dict[str, Peer] = {peer.name: peer for peer in (Numpy(), Scipy(), Torch(), Mkl())}
"""All peers by name."""


def peers_of(text: str) -> tuple[Peer, ...]:
    """The peers in `scipy,numpy`; UsageError E0809 for an unknown one."""
    found: list[Peer] = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name not in PEERS:
            help = did_you_mean(name, PEERS) or f"there are {', '.join(PEERS)}"
            raise UsageError(Diagnostic("E0809", f"there is no peer `{name}`", help=help))
        found.append(PEERS[name])
    return tuple(dict.fromkeys(found))
