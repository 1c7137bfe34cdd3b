"""Other libraries on the same net: junction by junction as sparse or dense matrices, activations in NumPy or torch."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.driver import Compiled
from pathc.ir.edges import coalesce
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.interp.network import activations_of
from pathc.ir.order import station_order
from pathc.support.diagnostics import Diagnostic, UsageError, did_you_mean

Matrix = NDArray[np.float32]
Values = NDArray[np.float32]
Step = Callable[[Any], Any]


@dataclass(frozen=True)
class Edges:
    """A junction as a list of distinct edges with one weight each; `shape` is (units out, units in)."""

    src: NDArray[np.int64]
    dst: NDArray[np.int64]
    weight: Values
    shape: tuple[int, int]

    @property
    def density(self) -> float:
        """Share of the pairs of units that have an edge."""
        return len(self.src) / (self.shape[0] * self.shape[1])


class Peer(ABC):
    """A library that can compute the net: sparse matrices times activations, [batch, units] all the way."""

    name: str
    module: str
    install: str

    def missing(self) -> str:
        """How to install the library, empty if it is there."""
        return "" if importlib.util.find_spec(self.module) else f"pip install {self.install}"

    @abstractmethod
    def step(self, edges: Edges) -> Step:
        """What multiplies activations [batch, units in] by a junction, giving [batch, units out]."""

    def prepare(self, compiled: Compiled, x: Values) -> Callable[[], Any]:
        """The whole net on these inputs, ready to be timed; nothing is prepared inside the call."""
        net = Net.of(compiled, self)
        given = self.tensor(x)
        return lambda: net.run(given)

    def tensor(self, values: Values) -> Any:
        """An array in the library's own form."""
        return values

    def relu(self, values: Any) -> Any:
        """max(0, x), in place if the library can."""
        return np.maximum(values, 0.0, out=values)


class Numpy(Peer):
    """Dense matrices, zeros included."""

    name, module, install = "numpy", "numpy", "numpy"

    def step(self, edges: Edges) -> Step:
        """`x @ dense`."""
        dense = np.zeros(edges.shape, np.float32)
        dense[edges.dst, edges.src] = edges.weight
        across = np.ascontiguousarray(dense.T)
        return lambda values: values @ across


class Scipy(Peer):
    """CSR matrices."""

    name, module, install = "scipy", "scipy", "scipy"

    def step(self, edges: Edges) -> Step:
        """`csr @ x`, which keeps activations unit-major between junctions."""
        matrix = self.csr(edges)
        return lambda values: (matrix @ values.T).T

    def csr(self, edges: Edges) -> Any:
        """The junction as scipy's CSR matrix, [units out, units in], columns sorted."""
        from scipy.sparse import csr_matrix  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

        found: Any = csr_matrix((edges.weight, (edges.dst, edges.src)), shape=edges.shape)
        found.sort_indices()
        return found


class Mkl(Scipy):
    """Intel MKL's sparse routines, through sparse_dot_mkl."""

    name, module, install = "mkl", "sparse_dot_mkl", "sparse_dot_mkl mkl"

    def missing(self) -> str:
        """How to install the library, empty if it is there and finds MKL."""
        reason = super().missing() or Scipy.missing(SCIPY)
        if reason:
            return reason
        try:
            importlib.import_module("sparse_dot_mkl")
        except (ImportError, OSError) as fault:
            return f"pip install {self.install}   ({fault})"
        return ""

    def step(self, edges: Edges) -> Step:
        """`dot_product_mkl(csr, x)`."""
        multiply: Any = importlib.import_module("sparse_dot_mkl").dot_product_mkl
        matrix = self.csr(edges)
        return lambda values: multiply(matrix, np.ascontiguousarray(values.T)).T


class Torch(Peer):
    """torch's CSR tensors."""

    name, module, install = "torch", "torch", "torch --index-url https://download.pytorch.org/whl/cpu"

    def step(self, edges: Edges) -> Step:
        """`csr @ x`."""
        torch: Any = importlib.import_module("torch")
        order = np.lexsort((edges.src, edges.dst))
        rows = np.concatenate(([0], np.cumsum(np.bincount(edges.dst, minlength=edges.shape[0]))))
        parts = (torch.from_numpy(part) for part in (rows, edges.src[order], edges.weight[order]))
        matrix = torch.sparse_csr_tensor(*parts, size=edges.shape)
        return lambda values: (matrix @ values.T).T

    def tensor(self, values: Values) -> Any:
        """A torch tensor on the same memory."""
        return importlib.import_module("torch").from_numpy(values)

    def relu(self, values: Any) -> Any:
        """max(0, x) in place."""
        return values.clamp_(min=0.0)


SCIPY = Scipy()
PEERS: dict[str, Peer] = {peer.name: peer for peer in (Numpy(), SCIPY, Torch(), Mkl())}
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


@dataclass(frozen=True)
class Net:
    """The net in a peer's hands: for every station the bias, what leads into it, and its activations."""

    graph: Graph
    peer: Peer
    order: tuple[str, ...]
    steps: dict[str, list[tuple[str, Step]]] = field(default_factory=dict[str, list[tuple[str, Step]]])
    bias: dict[str, Any] = field(default_factory=dict[str, Any])

    @staticmethod
    def of(compiled: Compiled, peer: Peer) -> Net:
        """The net with its weights merged edge by edge; the peer's matrices are made here."""
        graph, weights = compiled.graph, compiled.weights
        net = Net(graph, peer, tuple(station_order(graph)))
        for line in graph.lines:
            for number in line.junctions:
                names = [visit.station for visit in line.visits[number - 1 : number + 1]]
                source, destination = (graph.station(name) for name in names)
                step = _skip(line) if line.kind == "skip" else None
                if step is None:
                    step = peer.step(edges_of(graph, line, number, source, destination, weights))
                net.steps.setdefault(destination.name, []).append((source.name, step))
        for station in graph.stations:
            if station.stage("bias") is not None:
                values = np.zeros(station.units, np.float32)
                values[: station.real_units] = weights[f"{station.name}.bias"]
                net.bias[station.name] = peer.tensor(values)
        return net

    def run(self, x: Any) -> NDArray[Any]:
        """Outputs [batch, units], several output stations side by side."""
        values: dict[str, Any] = {}
        start = 0
        for name in self.order:
            station = self.graph.station(name)
            if station.role == "input":
                total = self._input(x[:, start : start + station.real_units], station)
                start += station.real_units
            else:
                total = self._sum(name, values)
            values[name] = self._read(station, total)
        parts = [np.asarray(values[s.name])[:, : s.real_units] for s in self.graph.outputs]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _input(self, part: Any, station: Station) -> Any:
        silent = station.units - station.real_units
        return self.peer.tensor(np.pad(np.asarray(part), ((0, 0), (0, silent)))) if silent else part

    def _sum(self, name: str, values: dict[str, Any]) -> Any:
        total: Any = None
        for source, step in self.steps.get(name, ()):
            part = step(values[source])
            total = part if total is None else total + part
        return total + self.bias[name] if name in self.bias else total

    def _read(self, station: Station, total: Any) -> Any:
        stages = [stage.name for stage in station.pipeline if stage.name not in ("bias", "identity")]
        if station.role != "input" and stages == ["relu"] and station.units == station.real_units:
            return self.peer.relu(total)
        if not stages and station.units == station.real_units:
            return total
        result = np.asarray(total)[:, : station.real_units].astype(np.float64)
        for function in activations_of(station):
            result = function.apply(result)
        silent = station.units - station.real_units
        return self.peer.tensor(np.pad(result, ((0, 0), (0, silent))).astype(np.float32))


def edges_of(graph: Graph, line: Line, number: int, source: Station, destination: Station, weights: Any) -> Edges:
    """The distinct edges of a junction with the sums of the weights of their paths."""
    shape = destination.units, source.units
    if line.kind == "dense":
        tensor = f"{line.mirror}.{len(line.visits) - number}" if line.tied else f"{line.name}.{number}"
        matrix = np.asarray(weights[tensor], np.float32)
        matrix = matrix.T if line.tied else matrix
        dst, src = np.indices(matrix.shape).reshape(2, -1)
        return Edges(src, dst, np.ascontiguousarray(matrix).reshape(-1), shape)
    tensor = f"{line.mirror}.{len(line.visits) - number}" if line.tied else f"{line.name}.{number}"
    edges, place = coalesce(resolve(line, graph), number)
    summed = np.bincount(place, weights=np.asarray(weights[tensor], np.float64), minlength=len(edges))
    return Edges(edges.src, edges.dst, summed.astype(np.float32), shape)


def _skip(line: Line) -> Step:
    return lambda values: values * line.scale
