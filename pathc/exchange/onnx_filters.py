"""Convolutions, pools and what goes with them, from ONNX nodes into a draft."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.exchange.draft import Draft
from pathc.ir.catalogue import canonical
from pathc.ir.extents import conv_extents, padding
from pathc.ir.types import Call, Size, Value, Word

FILTERS = (
    "Conv",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "ReduceMean",
    "Slice",
    "Concat",
    "BatchNormalization",
)
"""Operators that `bring_filter` knows; flat models have some of them, too."""


def has_extents(nodes: Any) -> bool:
    """Whether a model runs filters or pools over extents."""
    return any(str(node.op_type) in ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool") for node in nodes)


def bring_filter(draft: Draft, kind: str, inputs: list[str], output: str, options: dict[str, Any]) -> str:
    """Bring in a node whose input has extents; why it cannot be done, empty if it was."""
    if kind == "Concat":
        return _concat(draft, inputs, output, options)
    if inputs[0] not in draft.at or inputs[0] in draft.flattened:
        return "its input has no extents"
    if kind == "Conv":
        return _conv(draft, inputs, output, options)
    if kind == "BatchNormalization":
        return _norm(draft, inputs, output, options)
    return _pool(draft, kind, inputs, output, options)


def _conv(draft: Draft, inputs: list[str], output: str, options: dict[str, Any]) -> str:
    weights, source = draft.constants.get(inputs[1]), draft.at[inputs[0]]
    extents = draft.read_extents(source)
    if weights is None or weights.ndim != 2 + len(extents):
        return "its weights are no constant with the rank of its input"
    rank, kernel = len(extents), weights.shape[2:]
    groups = int(options.get("group", 1))
    if weights.shape[1] * groups != draft.sizes[source] or weights.shape[0] % groups:
        return f"its weights take {weights.shape[1] * groups} channels where {draft.sizes[source]} arrive"
    given: list[tuple[str, Value]] = [("kernel", _size(kernel))]
    for name, own in (("stride", "strides"), ("dilation", "dilations")):
        given.append((name, _size(options.get(own, [1] * rank))))
    if groups > 1:
        given.append(("groups", groups))
    dilation = [int(n) for n in options.get("dilations", [1] * rank)]
    pads = _pads(options, [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)], extents)
    stage = next((found for found in _padded(tuple(given), pads) if padding(found, rank) == pads), None)
    if stage is None:
        return f"its padding {[list(pair) for pair in pads]} is neither equal on both sides nor that of `same`"
    try:
        result = conv_extents(stage, extents)
    except ValueError as reason:
        return str(reason)
    station = draft.station(weights.shape[0], canonical(stage), extents=result)
    name = f"{draft.line('dense', source, station)}.1"
    draft.tensors[name] = np.ascontiguousarray(weights, np.float32)
    draft.at[output] = station
    if len(inputs) > 2 and inputs[2]:
        bias = draft.constants.get(inputs[2])
        if bias is None:
            return "its bias is no constant"
        draft.bias(station, bias)
    return ""


def _size(numbers: Any) -> Size:
    return Size(tuple(int(n) for n in numbers))


def _padded(given: tuple[tuple[str, Value], ...], pads: tuple[tuple[int, int], ...]) -> list[Call]:
    """The ways to write a padding."""
    numbers = Size(tuple(front for front, _ in pads))
    found = [Call("conv", (*given, ("pad", Word("valid")))), Call("conv", (*given, ("pad", Word("same"))))]
    if all(front == behind for front, behind in pads):
        found.append(Call("conv", (*given, ("pad", numbers))))
    if len(pads) == 1:
        found.append(Call("conv", (*given, ("causal", True))))
    return found


def _pads(options: dict[str, Any], reach: list[int], extents: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Zeros in front and behind of each axis."""
    rank = len(extents)
    mode = bytes(options.get("auto_pad", b"NOTSET"))
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        strides = [int(n) for n in options.get("strides", [1] * rank)]
        pairs: list[tuple[int, int]] = []
        for n, r, s in zip(extents, reach, strides, strict=True):
            missing = max((-(-n // s) - 1) * s + r + 1 - n, 0)
            small, large = missing // 2, missing - missing // 2
            pairs.append((small, large) if mode == b"SAME_UPPER" else (large, small))
        return tuple(pairs)
    pads = [0] * (2 * rank) if mode == b"VALID" else [int(n) for n in options.get("pads", [0] * (2 * rank))]
    return tuple(zip(pads[:rank], pads[rank:], strict=True))


def _pool(draft: Draft, kind: str, inputs: list[str], output: str, options: dict[str, Any]) -> str:
    extents = draft.read_extents(draft.at[inputs[0]])
    name = "maxpool" if "Max" in kind else "avgpool"
    if kind == "Slice":
        picked = _pick(extents, [draft.constants.get(each) for each in inputs[1:]])
        if isinstance(picked, str):
            return picked
        stage = picked
    elif kind == "ReduceMean":
        constant = draft.constants.get(inputs[1]) if len(inputs) > 1 else None
        given = options.get("axes", ()) if constant is None else constant.reshape(-1)
        axes = {int(n) % (2 + len(extents)) for n in given}
        if axes != set(range(2, 2 + len(extents))):
            return "it is no mean over all positions"
        if not int(options.get("keepdims", 1)):
            draft.flattened.add(output)
        stage = Call(name, (("window", Word("global")),))
    elif kind.startswith("Global"):
        stage = Call(name, (("window", Word("global")),))
    else:
        strides = options.get("strides", [1] * len(extents))
        if any(options.get("pads", ())) or bytes(options.get("auto_pad", b"NOTSET")) not in (b"NOTSET", b"VALID"):
            return "pools have no padding here"
        if options.get("ceil_mode", 0) or any(int(d) != 1 for d in options.get("dilations", ())):
            return "its windows go beyond the extents, or have gaps"
        stage = Call(name, (("window", _size(options["kernel_shape"])), ("stride", _size(strides))))
    station = draft.open(inputs[0]) or draft.copied(inputs[0])
    draft.pipelines[station].append(canonical(stage))
    draft.at[output] = station
    try:
        draft.read_extents(station)
    except ValueError as reason:
        draft.pipelines[station].pop()
        return str(reason)
    return ""


def _pick(extents: tuple[int, ...], parts: list[NDArray[Any] | None]) -> Call | str:
    """The stage that takes what a slice takes, or why there is none."""
    if not extents or len(parts) < 3 or any(part is None for part in parts):
        return "it takes apart what has no extents, or does not say which axes"
    starts, ends, axes, *steps = ([int(n) for n in part.reshape(-1)] for part in parts if part is not None)
    strides = steps[0] if steps else [1] * len(axes)
    window, tap, stride = list(extents), [0] * len(extents), [1] * len(extents)
    taken = dict(zip(axes, zip(starts, ends, strides, strict=True), strict=True))
    if any(axis not in range(2, 2 + len(extents)) for axis in taken):
        return "it takes more apart than extents"
    for axis, extent in enumerate(extents):
        positions = range(extent)[slice(*taken.get(axis + 2, (0, extent, 1)))]
        if not positions or positions.step < 1:
            return "it takes nothing, or goes backwards"
        tap[axis], stride[axis] = positions[0], positions.step
        window[axis] = extent - positions.step * (len(positions) - 1)
    if any(t >= w for t, w in zip(tap, window, strict=True)):
        return "it takes positions that no window of one size has"
    number = int(np.ravel_multi_index(tap, window))
    return Call("pick", (("window", _size(window)), ("stride", _size(stride)), ("tap", number)))


def _norm(draft: Draft, inputs: list[str], output: str, options: dict[str, Any]) -> str:
    """Fold a normalization into the filters in front of it, or keep it as a stage."""
    station = draft.open(inputs[0]) or draft.copied(inputs[0])
    parts = [draft.constants.get(name) for name in inputs[1:5]]
    if any(part is None or part.size != draft.sizes[station] for part in parts):
        return "its statistics are no constants of its channels"
    gain, shift, mean, variance = (np.asarray(part, np.float64).reshape(-1) for part in parts)
    eps = float(options.get("epsilon", 1e-5))
    factor = gain / np.sqrt(variance + eps)
    draft.at[output] = station
    if draft.normalized(station, factor, shift - mean * factor):
        return ""
    if any(stage.name == "batchnorm" for stage in draft.pipelines[station]):
        station = draft.at[output] = draft.copied(inputs[0])
    draft.pipelines[station].append(canonical(Call("batchnorm", (("eps", eps),))))
    for name, values in (("gain", gain), ("shift", shift), ("mean", mean), ("variance", variance)):
        draft.tensors[f"{station}.norm.{name}"] = values.astype(np.float32)
    return ""


def _concat(draft: Draft, inputs: list[str], output: str, options: dict[str, Any]) -> str:
    if any(name not in draft.at or name in draft.flattened for name in inputs):
        return "it joins what has no extents"
    sources = [draft.at[name] for name in inputs]
    extents = [draft.read_extents(source) for source in sources]
    if int(options.get("axis", 1)) % (2 + len(extents[0])) != 1 or len(set(extents)) != 1:
        return "it joins more than channels of equal extents"
    if len(set(sources)) != len(sources):
        return "it joins channels with themselves"
    station = draft.station(sum(draft.sizes[s] for s in sources), canonical(Call("concat")), extents=extents[0])
    for source in sources:
        draft.line("skip", source, station)
    draft.at[output] = station
    return ""
