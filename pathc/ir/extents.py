"""Extents (height, width, or length) of stations: what convolutions and pools make of them."""

from __future__ import annotations

import math

from pathc.ir.catalogue import CELLS, options_of
from pathc.ir.graph import Station
from pathc.ir.types import Call, Size, Value, Word

POOLS = ("maxpool", "avgpool", "pick")
"""Stages that make one value of each window of positions."""


def per_axis(value: Value, rank: int) -> tuple[int, ...]:
    """An option given once (`2`) or per axis (`2x2`) as one number per axis; ValueError if the axes differ."""
    if isinstance(value, Size):
        if len(value.extents) == rank:
            return value.extents
        if len(value.extents) == 1:
            return value.extents * rank
        raise ValueError(f"{value} has {len(value.extents)} extents, the channels have {rank}")
    if isinstance(value, int):
        return (value,) * rank
    raise ValueError(f"{value} is no size")


def padding(conv: Call, rank: int) -> tuple[tuple[int, int], ...]:
    """Zeros in front and behind, per axis, that a convolution adds; ValueError if sizes and rank differ."""
    options = options_of(conv)
    reach = _reach(conv, rank)
    pad = options["pad"]
    if options["causal"]:
        return tuple((r, 0) for r in reach)
    if pad == Word("same"):
        return tuple((r // 2, r - r // 2) for r in reach)
    if pad == Word("valid"):
        return ((0, 0),) * rank
    return tuple((p, p) for p in per_axis(pad, rank))


def conv_extents(conv: Call, extents: tuple[int, ...]) -> tuple[int, ...]:
    """Extents after a convolution; ValueError if the filter does not fit."""
    rank = len(extents)
    stride = per_axis(options_of(conv)["stride"], rank)
    reach = _reach(conv, rank)
    padded = [n + front + behind for n, (front, behind) in zip(extents, padding(conv, rank), strict=True)]
    return tuple(_positions(n, r + 1, s) for n, r, s in zip(padded, reach, stride, strict=True))


def pool_extents(pool: Call, extents: tuple[int, ...]) -> tuple[int, ...]:
    """Extents after a pool; ValueError if the window does not fit, or has not the tap that is picked."""
    options = options_of(pool)
    whole = options["window"] == Word("global")
    window = extents if whole else per_axis(options["window"], len(extents))
    tap, taps = options.get("tap", 0), math.prod(window)
    if isinstance(tap, int) and tap >= taps:
        raise ValueError(f"a window of {taps} values has no tap {tap}")
    if whole:
        return (1,) * len(extents)
    stride = window if options["stride"] == Word("window") else per_axis(options["stride"], len(extents))
    return tuple(_positions(n, w, s) for n, w, s in zip(extents, window, stride, strict=True))


def pooled_extents(station: Station, before: str = "") -> tuple[int, ...]:
    """Extents of the channels after the pools of the pipeline, or after those in front of the stage `before`.

    Raises ValueError if a pool does not fit.
    """
    extents = station.shape[1:]
    for stage in station.pipeline:
        if stage.name == before:
            break
        if stage.name in POOLS:
            extents = pool_extents(stage, extents)
    return extents


def read_extents(station: Station) -> tuple[int, ...]:
    """Extents of the channels as the next station sees them: none behind a cell, all but the last behind `steps`."""
    extents = pooled_extents(station)
    if any(stage.name in (*CELLS, "prernn") for stage in station.pipeline):
        return ()
    return extents[:-1] if station.stage("steps") is not None else extents


def skip_extents(station: Station) -> tuple[int, ...]:
    """Extents of what skips bring into a station: those of its sums, or those at its `shortcut`."""
    return pooled_extents(station, "shortcut") if station.stage("shortcut") is not None else station.shape[1:]


def _reach(conv: Call, rank: int) -> tuple[int, ...]:
    """Distance between the first and the last tap, per axis."""
    options = options_of(conv)
    kernel = per_axis(options["kernel"], rank)
    if isinstance(options["kernel"], Size) and len(options["kernel"].extents) != rank:
        raise ValueError(f"the filter {options['kernel']} has not the rank {rank} of the extents")
    dilation = per_axis(options["dilation"], rank)
    return tuple((k - 1) * d for k, d in zip(kernel, dilation, strict=True))


def _positions(extent: int, window: int, stride: int) -> int:
    if window > extent:
        raise ValueError(f"a window of {window} does not fit into {extent}")
    return (extent - window) // stride + 1
