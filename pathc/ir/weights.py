"""Weight files: `.safetensors` and `.npz` with one tensor per junction, checked against the graph.

Names and shapes: `<line>.<junction>` of shape [paths] in natural path order (dense: [units out, units in]),
junctions counted from 1; `<station>.bias` of shape [units]. Into a cell both have a leading axis, and the cell has
`<station>.recurrent.<gate>`: see `pathc.ir.cells` and `pathc.ir.recurrence`. Into a convolution the extents of the
filter come last; dense lines between a station with extents and one without join all units of all positions. Batch
normalization has `<station>.norm.gain`, `.shift`, `.mean` and `.variance` of shape [units], in front of a cell with the
leading axis of the bias. Silent units of `pad` have
no bias and no place in dense tensors. Integer tensors may have `<name>.scale` beside them, of shape [] or [1], or
[units] with one scale for each real unit of the destination: value = integer * scale.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pathc.ir.cells import cell_of
from pathc.ir.filters import weight_shape
from pathc.ir.graph import Graph
from pathc.ir.recurrence import structure_shape
from pathc.support.arrays import ArrayInfo, npz_infos, read_npz
from pathc.support.diagnostics import Diagnostic, PathcError, did_you_mean, error
from pathc.support.files import memory_limit, write_atomically
from pathc.support.source import Loc
from pathc.support.tensors import (
    TYPES,
    read_safetensors,
    round_to_bfloat16,
    safetensors_bytes,
    safetensors_infos,
    safetensors_metadata,
)

Tensors = Mapping[str, NDArray[Any]]

METADATA = "__metadata__"
"""Name under which `.npz` files keep their metadata, as JSON in bytes."""
GAIN, SHIFT, MEAN, VARIANCE = "norm.gain", "norm.shift", "norm.mean", "norm.variance"
"""Tensors of a batch normalization, behind the name of its station."""
SCALE = ".scale"
"""Suffix of the scale beside an integer tensor."""
_FLOATS = ("float32", "float64", "float16", "bfloat16")


def expected_tensors(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor the graph needs, in the order of its lines, then of its stations."""
    shapes: dict[str, tuple[int, ...]] = {}
    for line in graph.lines:
        if line.kind == "skip" or line.tied:
            continue
        for junction in line.junctions:
            source = graph.station(line.visits[junction - 1].station)
            destination = graph.station(line.visits[junction].station)
            shape = weight_shape(line, source, destination)
            cell = cell_of(destination)
            shapes[f"{line.name}.{junction}"] = shape if cell is None else _copied(cell.copies, shape)
    for station in graph.stations:
        cell = cell_of(station)
        own = _copied(1 if cell is None else cell.bias_copies, (station.real_units,))
        if station.stage("bias") is not None:
            shapes[f"{station.name}.bias"] = own
        if station.stage("batchnorm") is not None:
            shapes.update({f"{station.name}.{name}": own for name in (GAIN, SHIFT, MEAN, VARIANCE)})
        if cell is not None:
            for name in cell.tensors:
                shapes[name] = structure_shape(cell.recur, cell.hidden, cell.loc)
    return shapes


def path_axes(graph: Graph) -> dict[str, int]:
    """The axis of the paths for every tensor of a line of paths: the first, or the one behind the copies of a cell."""
    found: dict[str, int] = {}
    for line in graph.lines:
        for number in line.junctions if line.kind == "paths" and not line.tied else ():
            cell = cell_of(graph.station(line.visits[number].station))
            found[f"{line.name}.{number}"] = int(cell is not None and cell.copies > 1)
    return found


def _copied(copies: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if copies == 1 else (copies, *shape)


def check_memory(graph: Graph) -> list[Diagnostic]:
    """E0502 for every tensor of the graph that would not fit into the memory as float64."""
    limit = memory_limit()
    places = _places(graph)
    return [
        Diagnostic("E0502", f"tensor `{name}` needs {8 * math.prod(shape)} bytes, the memory can take {limit}",
                   places.get(name), help="lower the count, or use a machine with more memory")
        for name, shape in expected_tensors(graph).items() if 8 * math.prod(shape) > limit
    ]  # fmt: skip


def check_weights(graph: Graph, weights: Tensors, *, file: str = "", finite: bool = False) -> list[Diagnostic]:
    """What is wrong with the weights of a graph: names, shapes, types and, if `finite`, NaN and infinity.

    `file` is named in the messages. Codes E0505 to E0509.
    """
    infos = {name: ArrayInfo(tensor.shape, tensor.dtype.name) for name, tensor in weights.items()}
    found = check_infos(graph, infos, file=file)
    return found or (_not_finite(graph, weights, file) if finite else [])


def check_infos(graph: Graph, infos: Mapping[str, ArrayInfo], *, file: str = "") -> list[Diagnostic]:
    """The same for shapes and types alone, so that a file is judged before its values are read."""
    expected, places = expected_tensors(graph), _places(graph)
    where = f" in `{file}`" if file else ""
    found: list[Diagnostic] = []
    for name, shape in expected.items():
        if name not in infos:
            text = f"tensor `{name}` of shape {list(shape)} is missing{where}"
            found.append(Diagnostic("E0505", text, places[name], help=_cure_missing(name, infos, expected)))
        elif infos[name].shape != shape:
            text = f"tensor `{name}`{where} has shape {list(infos[name].shape)}, the model needs {list(shape)}"
            cure = "use the weights that belong to this model, or set count and sizes to theirs"
            found.append(Diagnostic("E0507", text, places[name], help=cure))
    for name, info in infos.items():
        base = name.removesuffix(SCALE)
        if name not in expected and (base == name or base not in expected):
            cure = did_you_mean(name, expected) or f"the model has {_listed(expected)}"
            found.append(Diagnostic("E0506", f"tensor `{name}`{where} belongs to no line or station", help=cure))
        elif info.dtype not in TYPES:
            cure = "store float32, float64, float16, bfloat16 or integers"
            found.append(Diagnostic("E0508", f"tensor `{name}`{where} has type {info.dtype}", help=cure))
        elif name not in expected:
            found.extend(_check_scale(name, info, infos.get(base), where, _units_of(graph, base, expected[base])))
    return found


def load_weights(path: str | Path, graph: Graph | None = None) -> dict[str, NDArray[Any]]:
    """The tensors of a `.safetensors` or `.npz` file, checked against `graph` if given.

    bfloat16 comes as float32 (exact), everything else as stored. Shapes are checked before values are read.
    Raises PathcError with all that is wrong: E0501 to E0510.
    """
    infos = weight_infos(path)
    if graph is not None:
        _raise_if_any(check_infos(graph, infos, file=str(path)))
    weights = read_npz(path) if _suffix(path) == ".npz" else read_safetensors(path)
    weights.pop(METADATA, None)
    if graph is not None:
        _raise_if_any(_not_finite(graph, weights, str(path)))
    return weights


def weight_infos(path: str | Path) -> dict[str, ArrayInfo]:
    """Shape and dtype of every tensor of a weight file, from its header alone; raises E0501, E0502, E0504, E0510."""
    infos = npz_infos(path) if _suffix(path) == ".npz" else safetensors_infos(path)
    infos.pop(METADATA, None)
    return infos


def load_metadata(path: str | Path) -> dict[str, str]:
    """What the writer noted about the weights: training run, data, seed; empty if nothing; raises as `weight_infos`."""
    if _suffix(path) == ".safetensors":
        return safetensors_metadata(path)
    if METADATA not in npz_infos(path):
        return {}
    try:
        record = json.loads(read_npz(path)[METADATA].tobytes().decode())
    except (ValueError, RecursionError) as reason:
        raise error("E0504", f"the metadata of `{path}` is damaged: {reason}", help="write the file again") from reason
    if not isinstance(record, dict):
        raise error("E0504", f"the metadata of `{path}` is no table", help="write the file again")
    return {str(key): str(value) for key, value in cast("dict[str, object]", record).items()}


def save_weights(
    path: str | Path, weights: Tensors, *, metadata: Mapping[str, str] | None = None, dtype: str | None = None
) -> None:
    """Write tensors to `.safetensors` or `.npz`, whole or not at all.

    `dtype` (`float32`, `float64`, `float16`, `bfloat16`) converts float tensors, rounding to nearest even;
    integer tensors and their scales stay as they are.
    Raises PathcError: E0503 not writable, E0508 a type no file holds, E0509 a value that is not finite,
    E0510 unknown suffix, E0511 bfloat16 in `.npz`.
    """
    suffix = _suffix(path)
    if dtype is not None and dtype not in _FLOATS:
        raise error("E0508", f"weights cannot be stored as {dtype}", help="use float32, float64, float16 or bfloat16")
    if dtype == "bfloat16" and suffix == ".npz":
        raise error("E0511", f"`{path}`: .npz has no bfloat16", help="write a .safetensors file")
    stored = {name: _converted(name, tensor, dtype) for name, tensor in weights.items()}
    record = dict(metadata or {})
    write_atomically(path, _npz_bytes(stored, record) if suffix == ".npz" else safetensors_bytes(stored, record))


def tensor_values(
    weights: Tensors, name: str, destinations: Callable[[], NDArray[np.int64]] | None = None
) -> NDArray[np.float64]:
    """The values of one tensor as float64, `<name>.scale` applied if it is there.

    `destinations` gives the destination unit of every path where the tensor is that of paths; weights into silent
    units, which have no scale of their own, become 0. Otherwise the first axis of the tensor is that of the units.
    """
    values = np.asarray(weights[name], dtype=np.float64)
    if name + SCALE not in weights:
        return values
    scale = np.asarray(weights[name + SCALE], dtype=np.float64).reshape(-1)
    if scale.size == 1:
        return values * scale[0]
    if destinations is None:
        return values * scale.reshape(-1, *(1,) * (values.ndim - 1))
    units = destinations()
    each = np.pad(scale, (0, max(0, int(units.max(initial=0)) + 1 - scale.size)))[units]
    return values * each.reshape(-1, *(1,) * (values.ndim - 1))


def _suffix(path: str | Path) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in (".safetensors", ".npz"):
        raise error("E0510", f"`{path}` is no weight file by its name", help="use the suffix .safetensors or .npz")
    return suffix


def _raise_if_any(found: Iterable[Diagnostic]) -> None:
    diagnostics = tuple(found)
    if diagnostics:
        raise PathcError(*diagnostics)


def _places(graph: Graph) -> dict[str, Loc | None]:
    places: dict[str, Loc | None] = {}
    for station in graph.stations:
        cell = cell_of(station)
        own = (f"{station.name}.{kind}" for kind in ("bias", GAIN, SHIFT, MEAN, VARIANCE))
        places.update(dict.fromkeys(own, station.loc))
        places.update(dict.fromkeys(cell.tensors if cell else (), station.loc))
    places.update({f"{line.name}.{j}": line.loc for line in graph.lines for j in line.junctions})
    return places


def _units_of(graph: Graph, name: str, shape: tuple[int, ...]) -> int:
    """Most scales that a tensor can have: the real units it leads into, or 1 if a tied line walks it backwards."""
    if any(line.tied and name.startswith(f"{line.mirror}.") for line in graph.lines):
        return 1
    for line in graph.lines:
        if line.kind == "paths" and name.startswith(f"{line.name}."):
            junction = name.removeprefix(f"{line.name}.")
            if junction.isdecimal():
                return graph.station(line.visits[int(junction)].station).real_units
    return shape[0]


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    shown = ", ".join(f"`{n}`" for n in known[:8])
    return f"{shown} and {len(known) - 8} more" if len(known) > 8 else shown or "no tensors"


def _cure_missing(name: str, infos: Mapping[str, ArrayInfo], expected: Mapping[str, object]) -> str:
    hint = did_you_mean(name, [n for n in infos if n not in expected])
    return hint.replace("did you mean", "was it stored as") if hint else "use the weights that belong to this model"


def _check_scale(name: str, info: ArrayInfo, base: ArrayInfo | None, where: str, units: int) -> list[Diagnostic]:
    if info.shape not in ((), (1,), (units,)):
        text = f"scale `{name}`{where} has shape {list(info.shape)}, it must be [], [1] or [{units}]"
        return [Diagnostic("E0507", text, help="store one scale per tensor, or one per unit of the destination")]
    if not info.dtype.startswith(("float", "bfloat")):
        return [Diagnostic("E0508", f"scale `{name}`{where} has type {info.dtype}", help="store scales as float32")]
    if base is not None and "int" not in base.dtype:
        text = f"scale `{name}`{where} stands beside a tensor of type {base.dtype}"
        return [Diagnostic("E0508", text, help="scales belong to integer tensors; drop it")]
    return []


def _not_finite(graph: Graph, weights: Tensors, file: str) -> list[Diagnostic]:
    places = _places(graph)
    where = f" in `{file}`" if file else ""
    found: list[Diagnostic] = []
    for name, tensor in weights.items():
        finite = np.isfinite(tensor)
        if not finite.all():
            first = [int(i) for i in np.argwhere(~finite)[0]]
            text = f"tensor `{name}`{where} holds {int((~finite).sum())} values that are NaN or infinite"
            diagnostic = Diagnostic("E0509", text, places.get(name), help="train again with a smaller step")
            found.append(diagnostic.note(f"the first one is at index {first}"))
    return found


def _converted(name: str, tensor: NDArray[Any], dtype: str | None) -> tuple[str, NDArray[Any]]:
    """Name of the stored type and the values in it (bfloat16 as its 16 bits)."""
    kind = tensor.dtype.name
    if kind not in TYPES:
        raise error("E0508", f"tensor `{name}` has type {kind}, which no weight file holds")
    if tensor.dtype.kind == "f" and dtype is not None and not name.endswith(SCALE):
        kind = dtype
    with np.errstate(over="ignore"):
        values = round_to_bfloat16(tensor) if kind == "bfloat16" else tensor.astype(kind, copy=False)
    if not np.isfinite(values).all():
        cure = "train again, or store a wider type"
        raise error("E0509", f"tensor `{name}` holds NaN or infinity as {kind}", help=cure)
    if kind == "bfloat16":
        values = (values.view(np.uint32) >> 16).astype(np.uint16)
    return kind, values


def _npz_bytes(stored: Mapping[str, tuple[str, NDArray[Any]]], metadata: dict[str, str]) -> bytes:
    arrays = {name: values for name, (_, values) in stored.items()}
    if metadata:
        arrays[METADATA] = np.frombuffer(json.dumps(metadata).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
