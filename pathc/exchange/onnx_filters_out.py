"""Filters, pools and what goes with them as ONNX nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.exchange.onnx_cells_out import Constant
from pathc.ir.catalogue import options_of
from pathc.ir.extents import POOLS, read_extents
from pathc.ir.filters import pool_of, tap_of
from pathc.ir.graph import Station
from pathc.ir.interp.base import Junction
from pathc.ir.interp.expand import owner
from pathc.ir.interp.filters import FilterJunction, GroupedJunction
from pathc.ir.interp.junctions import junction_values
from pathc.ir.types import Call
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE, Tensors, tensor_values


def filter_node(
    helper: Any,
    constant: Constant,
    weights: Tensors,
    junction: FilterJunction,
    ends: tuple[Station, Station],
    names: tuple[str, str],
) -> Any:
    """A convolution from value `names[0]` to `names[1]`: dense weights, zeros where no path leads, but groups stay."""
    geometry, each = junction.geometry, junction.each
    groups = each.groups if isinstance(each, GroupedJunction) else 1
    values = junction_values(weights, junction)
    if isinstance(each, GroupedJunction):
        kernels = values if junction.filtered else values.reshape(*values.shape, *geometry.kernel)
    else:
        source, destination = ends
        one = np.eye(source.units)
        taps = [values[(..., *tap)] if junction.filtered else values for tap in geometry.taps]
        whole = np.stack([each.push(one, tap).T for tap in taps], axis=-1)
        kernels = whole[: destination.real_units, : source.real_units]
    shaped = kernels.reshape(*kernels.shape[:2], *geometry.kernel).astype(np.float32)
    return helper.make_node(
        "Conv", [names[0], constant(f"{names[1]}.weights", shaped)], [names[1]],
        kernel_shape=list(geometry.kernel), strides=list(geometry.stride), dilations=list(geometry.dilation),
        pads=[*geometry.front, *geometry.behind], group=groups,
    )  # fmt: skip


def dense_matrix(weights: Tensors, junction: Junction) -> NDArray[np.float32]:
    """The weights of a dense line from all units of all positions, as [units in, units out]."""
    return np.ascontiguousarray(junction_values(weights, junction).T, np.float32)


def stage_nodes(
    helper: Any, constant: Constant, weights: Tensors, station: Station, stage: Call, before: str, after: str
) -> list[Any]:
    """The nodes of a stage that nets with extents have, empty for others."""
    spread = len(station.shape) > 1
    if stage.name in POOLS:
        geometry = pool_of(stage, _extents_at(station, stage))
        tap = tap_of(stage, geometry)
        if tap is not None:
            ends = [t + s * (n - 1) + 1 for t, s, n in zip(tap, geometry.stride, geometry.result, strict=True)]
            axes = list(range(2, 2 + len(tap)))
            parts = {"first": list(tap), "behind": ends, "axes": axes, "steps": list(geometry.stride)}
            names = [constant(f"{after}.{name}", np.array(part, np.int64)) for name, part in parts.items()]
            return [helper.make_node("Slice", [before, *names], [after])]
        kind = "MaxPool" if stage.name == "maxpool" else "AveragePool"
        windows = {"kernel_shape": list(geometry.kernel), "strides": list(geometry.stride)}
        return [helper.make_node(kind, [before], [after], **windows)]
    if stage.name == "batchnorm":
        values = (tensor_values(weights, f"{owner(station.name)}.{name}") for name in (GAIN, SHIFT, MEAN, VARIANCE))
        names = [constant(f"{after}.{k}", value.astype(np.float32)) for k, value in enumerate(values)]
        return [helper.make_node("BatchNormalization", [before, *names], [after], epsilon=options_of(stage)["eps"])]
    if stage.name == "channelshuffle":
        groups, channels = options_of(stage)["groups"], station.real_units
        assert isinstance(groups, int)
        apart = constant(f"{after}.apart", np.array([0, groups, channels // groups, -1], np.int64))
        extents = _extents_at(station, stage)
        joined = constant(f"{after}.joined", np.array([0, channels, *extents], np.int64))
        return [
            helper.make_node("Reshape", [before, apart], [f"{after}.split"]),
            helper.make_node("Transpose", [f"{after}.split"], [f"{after}.turned"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"{after}.turned", joined], [after]),
        ]
    if stage.name == "softmax" and spread:
        return [helper.make_node("Softmax", [before], [after], axis=1)]
    return []


def _extents_at(station: Station, stage: Call) -> tuple[int, ...]:
    """Extents of the channels in front of a stage."""
    return read_extents(replace(station, pipeline=station.pipeline[: station.pipeline.index(stage)]))
