"""What operations on planes take besides planes: weights, numbers of channels, factors; as kernels read them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.tvm.filters.plan import Affine, Blocks, Filters, Floats, Lists, Op
from pathc.backends.tvm.filters.tiles import Tile, padded

Packed = dict[str, NDArray[Any]]


def parameters(op: Op, tile: Tile) -> Packed:
    """Arrays by name, float32 and int32.

    `w` weights: [blocks, in, rows, columns, out] of blocks, [edges, rows, columns] of lists. `s` sources of blocks, -1
    where there is none, `i` those of lists, which begin at `p`. `t` where channels are stored, `o` which they are for
    the planes that are added. `m0`, `b0` factors and shifts of the first affine function, and so on. Channels that
    fill up a tile have weight zero; the kernel does not store them.
    """
    found, wide = Packed(), 0
    if isinstance(op, Blocks):
        found = _blocks(op, tile)
        wide = found["w"].shape[-1]
    elif isinstance(op, Lists):
        found = _lists(op)

    def channels(values: NDArray[Any]) -> NDArray[Any]:
        """Numbers of the channels, in the shape in which kernels count them."""
        if not isinstance(op, Blocks):
            return values
        return np.pad(values.reshape(op.targets.shape), ((0, 0), (0, wide - op.targets.shape[1])))

    targets = op.targets if isinstance(op, Filters) else None
    stored = np.array(op.end.places, np.int64) if op.end.places else targets
    if stored is not None:
        found["t"] = channels(stored).astype(np.int32)
    if targets is not None and op.end.terms:
        found["o"] = channels(targets).astype(np.int32)
    for number, function in enumerate(f for f in op.end.functions if isinstance(f, Affine)):
        found[f"b{number}"] = channels(function.shift).astype(np.float32)
        if function.scale is not None:
            found[f"m{number}"] = channels(function.scale).astype(np.float32)
    return {f"{op.name}_{letter}": np.ascontiguousarray(array) for letter, array in found.items()}


def _blocks(op: Blocks, tile: Tile) -> Packed:
    fan_in, fan_out = op.sources.shape[1], op.targets.shape[1]
    into, out = padded(fan_in, tile.sources) - fan_in, padded(fan_out, tile.channels * tile.deep) - fan_out
    weights = np.pad(op.weights, ((0, 0), (0, into), (0, 0), (0, out)))
    shape = (*weights.shape[:2], *op.geometry.kernel, weights.shape[-1])
    sources = np.pad(op.sources, ((0, 0), (0, into)), constant_values=-1)
    return {"w": weights.reshape(shape).astype(np.float32), "s": sources.astype(np.int32)}


def _lists(op: Lists) -> Packed:
    weights: Floats = op.weights.reshape(-1, *op.geometry.kernel)
    none = 0 if len(weights) else 1
    return {
        "w": np.pad(weights, ((0, none), (0, 0), (0, 0))).astype(np.float32),
        "i": np.pad(op.sources, (0, none)).astype(np.int32),
        "p": op.starts.astype(np.int32),
    }
