"""Nets with extents in PyTorch's operations: filters of paths as convolutions, on any device."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pathc.backends.llvm.training import untrainable
from pathc.ir.catalogue import options_of
from pathc.ir.cells import is_recurrent
from pathc.ir.extents import POOLS
from pathc.ir.filters import pool_of, tap_of
from pathc.ir.graph import Graph, Station
from pathc.ir.inputs import input_shape, output_shape
from pathc.ir.interp.base import Junction
from pathc.ir.interp.expand import expanded, owner
from pathc.ir.interp.filters import FilterJunction, GroupedJunction, PartJunction
from pathc.ir.interp.junctions import DenseJunction, PathJunction, SkipJunction
from pathc.ir.misfits import without_steps
from pathc.ir.types import Call
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE
from pathc.support.diagnostics import Diagnostic
from pathc.torch.fallback import applied
from pathc.torch.module import PathModule

Tensors = Mapping[str, torch.Tensor]


class FilterModule(PathModule):
    """A model whose stations may have extents, normalizations and equations; takes what `PathModule` takes.

    Inputs are [batch, channels, *extents]. Compiled kernels run forward and backward in float32 on the CPU. On other
    devices, in other types and with `compiled=False` filters of paths become dense convolutions with zeros, in
    PyTorch's own operations. `train()` lets batch normalization go by the batch and moves its statistics, which are
    buffers.
    """

    _buffers_of = (MEAN, VARIANCE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs [batch, ...] of inputs [batch, channels, *extents]; ValueError for another shape."""
        wanted = input_shape(self.graph)
        if tuple(x.shape[1:]) != wanted:
            raise ValueError(f"E0512: the input has shape {list(x.shape)}, the model needs [batch, *{list(wanted)}]")
        weights = self.tensors()
        if self.compiled and self._has_kernels(x, weights):
            return self._by_kernels(x, weights)
        net = FilterNet(self.graph) if self._net is None else self._net
        self._net = net
        return net(x, weights, training=self.training)

    def _has_kernels(self, x: torch.Tensor, weights: Tensors) -> bool:
        tensors = (x, *weights.values())
        plain = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
        return plain and self._trainable

    def _by_kernels(self, x: torch.Tensor, weights: Tensors) -> torch.Tensor:
        """Outputs by the compiled kernels; in training, statistics move as those of `FilterNet` do."""

        def watch(found: Mapping[str, NDArray[np.float32]]) -> None:
            with torch.no_grad():
                for name, values in found.items():
                    stage = self.graph.station(owner(name)).stage("batchnorm")
                    share = options_of(stage)["momentum"] if stage is not None else 0.0
                    assert isinstance(share, float | int)
                    weights[name].lerp_(torch.from_numpy(values), share)

        # What moves is not what the backward pass looks at again.
        given = {n: t.clone() if n.endswith(self._buffers_of) else t for n, t in weights.items()}
        y = self._run_kernels(x.flatten(1), given, watch if self.training else None)
        return y.reshape(len(x), *output_shape(self.graph))

    def _refused(self, graph: Graph) -> list[Diagnostic]:
        if is_recurrent(graph):
            text = "recurrent cells have no operations in `FilterModule`"
            return [Diagnostic("E0376", text, graph.loc, help="use `pathc.compile`")]
        return without_steps(graph, "`FilterModule` has")

    def _start(self) -> None:
        super()._start()
        self._net: FilterNet | None = None
        self._trainable = not untrainable(self.graph)


class FilterNet:
    """The meaning of a graph, for tensors of one device and one floating type; silent units are left out."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._stations, self._into = expanded(graph)
        self._named = {station.name: station for station in self._stations}
        self._edges: dict[tuple[str, str, torch.device], torch.Tensor] = {}

    def __call__(self, x: torch.Tensor, weights: Tensors, *, training: bool = False) -> torch.Tensor:
        """Outputs [n, ...] of inputs [n, ...]; in `training`, statistics of normalizations move in place."""
        values = self._inputs(x)
        for station in self._stations:
            total = values.get(station.name)
            parts = [self._brought(junction, values, weights) for junction in self._into[station.name]]
            if station.stage("concat") is not None:
                parts = [torch.cat(parts, dim=1)]
            for part in parts:
                total = part if total is None else total + part
            if total is None:
                total = x.new_zeros(len(x), station.real_units, *station.shape[1:])
            values[station.name] = self._read(station, total, weights, training)
        outputs = [values[station.name] for station in self._graph.outputs]
        if len(outputs) == 1:
            return outputs[0].reshape(len(x), *output_shape(self._graph))
        return torch.cat([part.flatten(1) for part in outputs], dim=1)

    def _inputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        stations = self._graph.inputs
        if len(stations) == 1:
            return {stations[0].name: x}
        shapes = [(station.real_units, *station.shape[1:]) for station in stations]
        parts: tuple[torch.Tensor, ...] = torch.split(x, [math.prod(shape) for shape in shapes], dim=1)
        every = zip(stations, parts, shapes, strict=True)
        return {station.name: part.reshape(len(x), *shape) for station, part, shape in every}

    def _brought(self, junction: Junction, values: Mapping[str, torch.Tensor], weights: Tensors) -> torch.Tensor:
        """What a junction adds to its destination, [n, channels, *extents]."""
        x, station = values[junction.source], self._named[junction.destination]
        if isinstance(junction, SkipJunction | PartJunction):
            return x if junction.scale == 1.0 else junction.scale * x
        tensor = weights[junction.tensor]
        tensor = tensor if junction.factor == 1.0 else junction.factor * tensor
        if isinstance(junction, FilterJunction):
            return self._filtered(junction, x, tensor)
        if isinstance(junction, DenseJunction):
            matrix = tensor.T if junction.transposed else tensor
        else:
            matrix = self._matrix(junction, tensor, x.device)[:, :, 0]
        rows = functional.linear(x.flatten(1), matrix)
        return rows.reshape(len(x), station.real_units, *station.shape[1:])

    def _filtered(self, junction: FilterJunction, x: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
        """A convolution."""
        geometry, each = junction.geometry, junction.each
        if isinstance(each, GroupedJunction):
            kernel, groups = tensor.reshape(*tensor.shape[:2], *geometry.kernel), each.groups
        else:
            kernel, groups = self._matrix(each, tensor, x.device), 1
            kernel = kernel.reshape(*kernel.shape[:2], *geometry.kernel)
        if geometry.front != geometry.behind:
            pads = [n for pair in zip(reversed(geometry.front), reversed(geometry.behind), strict=True) for n in pair]
            x, padding = functional.pad(x, pads), (0,) * len(geometry.kernel)
        else:
            padding = geometry.front
        convolve = functional.conv1d if len(geometry.kernel) == 1 else functional.conv2d
        return convolve(x, kernel, None, geometry.stride, padding, geometry.dilation, groups)

    def _matrix(self, junction: Junction, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Weights of paths [paths, ...] as [channels out, channels in, taps], zero where no path leads."""
        assert isinstance(junction, PathJunction)
        source, destination = self._named[junction.source], self._named[junction.destination]
        key = junction.tensor, junction.destination, device
        if key not in self._edges:
            generator, number = junction.generator, junction.number
            into, out = (torch.from_numpy(generator.units(v, 0, generator.count)) for v in (number - 1, number))
            self._edges[key] = (out * source.units + into).to(device)
        taps = tensor.reshape(len(tensor), -1)
        whole = taps.new_zeros(destination.units * source.units, taps.shape[1])
        matrix = whole.index_add(0, self._edges[key], taps).reshape(destination.units, source.units, taps.shape[1])
        return matrix[: destination.real_units, : source.real_units]

    def _read(self, station: Station, x: torch.Tensor, weights: Tensors, training: bool) -> torch.Tensor:
        """What is read from a station."""
        name, rank = owner(station.name), len(station.shape) - 1
        if station.stage("bias") is not None:
            x = x + weights[f"{name}.bias"].reshape(-1, *[1] * rank)
        for stage in station.pipeline:
            if stage.name in POOLS:
                x = _pooled(stage, x)
            elif stage.name == "batchnorm":
                x = _normalized(
                    stage, x, [weights[f"{name}.{part}"] for part in (GAIN, SHIFT, MEAN, VARIANCE)], training
                )
            elif stage.name == "channelshuffle":
                groups = options_of(stage)["groups"]
                assert isinstance(groups, int)
                apart = x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])
                x = apart.transpose(1, 2).reshape(x.shape)
            elif stage.name not in ("bias", "conv", "concat"):
                x = applied(stage, x)
        return x


def _pooled(stage: Call, x: torch.Tensor) -> torch.Tensor:
    geometry = pool_of(stage, tuple(x.shape[2:]))
    tap = tap_of(stage, geometry)
    if tap is not None:
        spans = zip(tap, geometry.stride, geometry.result, strict=True)
        return x[(..., *(slice(a, a + s * (n - 1) + 1, s) for a, s, n in spans))]
    flat = len(geometry.kernel) == 1
    if stage.name == "maxpool":
        pool = functional.max_pool1d if flat else functional.max_pool2d
    else:
        pool = functional.avg_pool1d if flat else functional.avg_pool2d
    return pool(x, geometry.kernel, geometry.stride)


def _normalized(stage: Call, x: torch.Tensor, parts: list[torch.Tensor], training: bool) -> torch.Tensor:
    """Batch normalization; in `training` the statistics, mean and plain variance, move by their momentum."""
    gain, shift, mean, variance = parts
    eps, momentum = options_of(stage)["eps"], options_of(stage)["momentum"]
    assert isinstance(eps, float | int)
    assert isinstance(momentum, float | int)
    if training:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        with torch.no_grad():
            mean.lerp_(x.mean(dim=axes), momentum)
            variance.lerp_(x.var(dim=axes, unbiased=False), momentum)
        return functional.batch_norm(x, None, None, gain, shift, True, 0.0, eps)
    return functional.batch_norm(x, mean, variance, gain, shift, False, 0.0, eps)
