"""Structures of hidden-to-hidden matrices: which unit sees which, and the shape of the tensor that holds the weights.

Shapes over n units: `full` [n, n] (unit that receives, unit that is seen), `grouped(g)` [g, n / g, n / g], `diag` [n],
`ring(c)` [n, c], `mask` [blocks, b, b] with the blocks row by row, `band`, `sparse` and `paths` [weights]: a band and a
mask row by row from left to right, paths in natural order.
Source: Van Keirsbilck, Keller and Yang, *Rethinking Full Connectivity in Recurrent Neural Networks* (2019).
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathc.ir.catalogue import options_of
from pathc.ir.generators import make
from pathc.ir.types import Call, Quantity, Value
from pathc.support.arrays import npz_infos, read_npz
from pathc.support.diagnostics import error
from pathc.support.source import Loc

Index = NDArray[np.int64]


def structure_weights(structure: Call, units: int, loc: Loc | None = None) -> int:
    """Weights of one hidden-to-hidden matrix of that structure over `units` units.

    Bands are clipped at the edges, rings wrap around. A band given in percent follows the paper: C = round(share *
    units), k = ceil(C / 2) neighbours on each side. Raises E0370 for a mask that does not fit.
    """
    options = options_of(structure)
    match structure.name:
        case "grouped":
            return units * units // max(1, _number(options["groups"]))
        case "band":
            k = band_reach(structure, units)
            return units * (2 * k + 1) - k * (k + 1)
        case "ring":
            return units * min(_number(options["width"]), units)
        case "diag":
            return units
        case "sparse":
            return round(_share(options["density"]) * units * units)
        case "paths":
            return _number(options["count"])
        case "mask":
            return int(_mask(structure, units, loc).sum()) * _number(options["block"]) ** 2
        case _:
            return units * units


def structure_shape(structure: Call, units: int, loc: Loc | None = None) -> tuple[int, ...]:
    """Shape of the tensor that holds one hidden-to-hidden matrix; raises as `structure_weights`."""
    count = structure_weights(structure, units, loc)
    options = options_of(structure)
    match structure.name:
        case "full":
            return (units, units)
        case "grouped":
            groups = _number(options["groups"])
            return (groups, units // groups, units // groups)
        case "ring":
            return (units, count // units)
        case "mask":
            side = _number(options["block"])
            return (count // side**2, side, side)
        case _:
            return (count,)


def band_reach(structure: Call, units: int) -> int:
    """Neighbours that a band or ring reaches on each side."""
    width = options_of(structure)["width"]
    nominal = math.ceil(round(_share(width) * units) / 2) if isinstance(width, Quantity) else (_number(width) - 1) // 2
    return min(nominal, units - 1)


@lru_cache(maxsize=64)
def structure_edges(structure: Call, units: int, loc: Loc | None = None) -> tuple[Index, Index]:
    """Units that receive and units that are seen, int64 [weights] each, in the order of the flattened tensor.

    Raises E0370 for a mask that does not fit, and those of the Sobol' generator.
    """
    options = options_of(structure)
    everyone = np.arange(units, dtype=np.int64)
    match structure.name:
        case "grouped":
            size = units // _number(options["groups"])
            return np.repeat(everyone, size), (everyone[:, None] // size * size + np.arange(size)).reshape(-1)
        case "band":
            k = band_reach(structure, units)
            seen = everyone[:, None] + np.arange(-k, k + 1)
            inside = (seen >= 0) & (seen < units)
            return np.repeat(everyone, inside.sum(axis=1)), seen[inside]
        case "ring":
            width = min(_number(options["width"]), units)
            seen = (everyone[:, None] + np.arange(width) - (width - 1) // 2) % units
            return np.repeat(everyone, width), seen.reshape(-1)
        case "diag":
            return everyone, everyone
        case "sparse":
            count = structure_weights(structure, units)
            draw = np.random.Generator(np.random.Philox(key=[_number(options["seed"]), 0]))
            chosen = np.sort(draw.choice(units * units, count, replace=False))
            return chosen // units, chosen % units
        case "paths":
            dims = (_number(options["source"]), _number(options["destination"]))
            paths = make(Call("sobol"), dims, (units, units), _number(options["count"]), loc)
            return paths.units(1, 0, paths.count), paths.units(0, 0, paths.count)
        case "mask":
            side = _number(options["block"])
            rows, columns = np.nonzero(_mask(structure, units, loc))
            inner = np.arange(side)
            into = np.broadcast_to((rows * side)[:, None, None] + inner[:, None], (len(rows), side, side))
            seen = np.broadcast_to((columns * side)[:, None, None] + inner, (len(rows), side, side))
            return into.reshape(-1).astype(np.int64), seen.reshape(-1).astype(np.int64)
        case _:
            return np.repeat(everyone, units), np.tile(everyone, units)


def _mask(structure: Call, units: int, loc: Loc | None) -> NDArray[np.bool_]:
    """The blocks that exist, [units / block, units / block]."""
    options = options_of(structure)
    name, block = str(options["file"]), _number(options["block"])
    path = (Path(loc.file).parent if loc else Path()) / name
    side = units // block
    infos = npz_infos(path)
    info = infos.get("mask")
    help = f"write it with numpy.savez(file, mask = an array of zeros and ones of shape [{side}, {side}])"
    if info is None or info.shape != (side, side) or np.dtype(info.dtype).kind not in "biu":
        held = ", ".join(f"`{n}` {list(i.shape)} {i.dtype}" for n, i in infos.items()) or "nothing"
        raise error("E0370", f"`{name}` holds no mask of {side} x {side} blocks, but {held}", loc, help=help)
    mask = read_npz(path)["mask"] != 0
    if not mask.any():
        raise error("E0370", f"the mask in `{name}` is empty: no unit would see any", loc, help=help)
    return mask


def _share(value: Value) -> float:
    return value.number / 100 if isinstance(value, Quantity) else float(str(value))


def _number(value: Value) -> int:
    return value if isinstance(value, int) else 1
