"""From the state dictionary of a PyTorch module to a graph: a chain of linear layers, batch norms and recurrent cells.

A state dictionary holds names and tensors, not what connects them: modules are taken to follow one another in the order
of their names (`.safetensors`) or of the dictionary (`.pt`), with an activation that the caller names between them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.exchange.draft import Direction, Draft
from pathc.ir.catalogue import canonical
from pathc.ir.graph import Graph
from pathc.ir.types import Call
from pathc.support.diagnostics import Diagnostic, PathcError, UnavailableError, error
from pathc.support.files import check_readable
from pathc.support.tensors import read_safetensors

SUFFIXES = (".safetensors", ".pt", ".pth")
_CELLS = {1: "rnn", 3: "gru", 4: "lstm"}
_EPSILON = 1e-5
"""What PyTorch's batch norms add to the variance unless told otherwise; a state dictionary does not hold it."""


def import_state(path: str | Path, activation: str = "relu") -> tuple[Graph, dict[str, NDArray[Any]]]:
    """Graph and weights of a state dictionary; `activation` stands behind all linear layers but the last.

    Raises PathcError: E1106 where the tensors are no chain of layers, with all that do not fit, E0501 to E0508 as
    `read_safetensors`; UnavailableError E1105 for `.pt` without PyTorch.
    """
    state = _read(Path(path))
    modules: dict[str, dict[str, NDArray[Any]]] = {}
    for name, tensor in state.items():
        prefix, _, part = name.rpartition(".")
        if part != "num_batches_tracked":
            modules.setdefault(prefix, {})[part] = tensor
    draft = Draft()
    last: str | None = None
    waiting: str | None = None
    for prefix, parts in modules.items():
        kind = _kind(parts)
        if not kind:
            shapes = ", ".join(f"{part} {list(t.shape)}" for part, t in parts.items())
            text = f"`{prefix}` is no linear layer, batch norm or recurrent cell: {shapes}"
            draft.problems.append(Diagnostic("E1106", text, help="bring the net in as ONNX, or leave that module out"))
            continue
        width = _width(kind, parts)
        if last is None:
            last = draft.station(width)
        if waiting and kind != "norm":
            draft.pipelines[waiting].append(canonical(Call(activation)))
        if width != draft.sizes[last]:
            text = f"`{prefix}` takes {width} values where {draft.sizes[last]} arrive"
            help = "the modules must be a chain in the order of their names; bring other nets in as ONNX"
            draft.problems.append(Diagnostic("E1106", text, help=help))
            last, waiting = draft.station(width), None
        last, waiting = _module(draft, prefix, kind, parts, last, waiting)
    if draft.problems:
        raise PathcError(*draft.problems)
    if last is None or last == "s0":
        raise error("E1106", f"`{path}` has no layers", help="save the `state_dict()` of the module")
    return draft.graph(Path(path).stem, [last]), draft.tensors


def _module(
    draft: Draft, prefix: str, kind: str, parts: dict[str, NDArray[Any]], last: str, waiting: str | None
) -> tuple[str, str | None]:
    """Add a module; the station behind it, and again if an activation is to follow before the next layer."""
    if kind == "linear":
        station = draft.dense(last, parts["weight"])
        if "bias" in parts:
            draft.bias(station, parts["bias"])
        return station, station
    if kind == "norm":
        mean, variance = (parts[n].astype(np.float64) for n in ("running_mean", "running_var"))
        factor = parts.get("weight", np.ones(len(mean))) / np.sqrt(variance + _EPSILON)
        if not draft.normalized(last, factor, parts.get("bias", np.zeros(len(mean))) - mean * factor):
            text = f"`{prefix}` does not stand right behind a linear layer"
            draft.problems.append(Diagnostic("E1106", text, help="bring the net in as ONNX"))
        return last, waiting
    for layer in range(sum(re.fullmatch(r"weight_ih_l\d+", part) is not None for part in parts)):
        sides = [s for s in ("", "_reverse") if f"weight_ih_l{layer}{s}" in parts]
        directions = [_direction(draft, prefix, parts, f"_l{layer}{side}") for side in sides]
        gates = len(directions[0].inputs)
        last = draft.cell(last, _CELLS[gates], directions)
    return last, None


def _direction(draft: Draft, prefix: str, parts: dict[str, NDArray[Any]], suffix: str) -> Direction:
    recurrent = parts[f"weight_hh{suffix}"].astype(np.float32)
    hidden = recurrent.shape[1]
    shape = (recurrent.shape[0] // hidden, hidden)
    none = np.zeros(recurrent.shape[0], np.float32)
    outer, inner = (parts.get(f"bias_{which}{suffix}", none).reshape(shape) for which in ("ih", "hh"))
    if shape[0] == 3 and np.any(inner[2]):
        text = f"`{prefix}.bias_hh{suffix}` adds to the new gate of a GRU inside the product with the reset gate"
        help = "no cell here has that bias: train it at zero, or use an LSTM"
        draft.problems.append(Diagnostic("E1106", text, help=help))
    inputs = parts[f"weight_ih{suffix}"].astype(np.float32).reshape(*shape, -1)
    return Direction(inputs, recurrent.reshape(*shape, hidden), (outer + inner).astype(np.float32))


def _kind(parts: Mapping[str, NDArray[Any]]) -> str:
    """What module has these tensors, by names and shapes; nothing if none that can be brought in."""
    names = set(parts)
    weight = parts.get("weight")
    if {"running_mean", "running_var"} <= names <= {"running_mean", "running_var", "weight", "bias"}:
        units = {tensor.shape for tensor in parts.values()}
        return "norm" if len(units) == 1 and parts["running_mean"].ndim == 1 else ""
    if weight is not None and weight.ndim == 2 and weight.size:
        return "linear" if names == {"weight"} or (len(names) == 2 and _fits(parts, "bias", weight.shape[:1])) else ""
    return "cell" if names and all(_belongs(parts, name) for name in names) and "weight_ih_l0" in names else ""


def _fits(parts: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> bool:
    return name in parts and parts[name].shape == shape


def _belongs(parts: Mapping[str, NDArray[Any]], name: str) -> bool:
    """Whether a tensor of a recurrent module has its place in a stack of cells and fits what lies below."""
    found = re.fullmatch(r"(weight|bias)_(ih|hh)_l(\d+)(_reverse)?", name)
    if found is None:
        return False
    layer, suffix = int(found[3]), f"_l{found[3]}{found[4] or ''}"
    inner = parts.get(f"weight_hh{suffix}")
    outer = parts.get(f"weight_ih{suffix}")
    if inner is None or outer is None or inner.ndim != 2 or outer.ndim != 2 or not inner.size or not outer.size:
        return False
    hidden = inner.shape[1]
    if inner.shape[0] not in [gates * hidden for gates in _CELLS] or outer.shape[0] != inner.shape[0]:
        return False
    base = parts.get("weight_hh_l0")
    if base is None or inner.shape != base.shape or f"weight_ih_l{layer}" not in parts:
        return False
    if layer:
        sides = 1 + (f"weight_hh_l{layer - 1}_reverse" in parts)
        if f"weight_hh_l{layer - 1}" not in parts or outer.shape[1] != sides * hidden:
            return False
    elif outer.shape[1] != parts["weight_ih_l0"].shape[1]:
        return False
    return found[1] == "weight" or parts[name].shape == inner.shape[:1]


def _width(kind: str, parts: Mapping[str, NDArray[Any]]) -> int:
    if kind == "norm":
        return len(parts["running_mean"])
    return int(parts["weight" if kind == "linear" else "weight_ih_l0"].shape[1])


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix == ".safetensors":
        state = read_safetensors(path)
        return {name: state[name] for name in sorted(state, key=_natural)}
    check_readable(path)
    try:
        torch = import_module("torch")
    except ImportError:
        text = f"reading `{path}` needs PyTorch"
        help = "pip install 'pathc[torch]', or save the state with safetensors"
        raise UnavailableError(Diagnostic("E1105", text, help=help)) from None
    try:
        # Tensors and plain containers only: nothing in the file is executed.
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = next((state[key] for key in ("state_dict", "model") if isinstance(state.get(key), dict)), state)
        return {str(name): np.asarray(tensor.float().numpy()) for name, tensor in state.items()}
    except Exception as reason:
        # The decoder raises errors of many kinds, all of which mean the same here.
        first = (str(reason).splitlines() or [type(reason).__name__])[0]
        text = f"`{path}` is no state dictionary: {first}"
        raise error("E1106", text, help="save `module.state_dict()`, not the module") from reason


def _natural(name: str) -> list[tuple[int, str]]:
    """Order in which `2` comes before `10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
