"""What quantization has made of a net: bits, shares, errors, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.compress.quantize import Quantized, for_integers
from pathc.ir.graph import Graph
from pathc.ir.inputs import as_samples
from pathc.ir.interp import forward
from pathc.ir.interp.junctions import float_tensors
from pathc.ir.quantized import integer_forward, integer_network
from pathc.ir.weights import GAIN, MEAN, SHIFT, VARIANCE, Tensors

_CHUNK = 512
_HALF = 16
_OF_STATIONS = tuple(f".{name}" for name in ("bias", GAIN, SHIFT, MEAN, VARIANCE))
"""Ends of the names of tensors that are no weights."""
Run = Callable[[Graph, Tensors, NDArray[Any]], NDArray[Any]]
"""Outputs of a net with these tensors on samples of the shape it takes."""
IntegerRun = Callable[[Quantized, NDArray[Any]], NDArray[Any]]
"""Outputs of a calibrated net in integer arithmetic."""


@dataclass(frozen=True)
class TensorReport:
    """One tensor: weights, bits of its largest integer with the sign, or of a bfloat16, share that is not zero.

    `error` is the root mean square of the outputs' change if this tensor alone is quantized, in units of that of the
    outputs; `accuracy` is what is then reached. Both are -1 without data.
    """

    name: str
    weights: int
    bits: int
    nonzero: float
    error: float = -1.0
    accuracy: float = -1.0


@dataclass(frozen=True)
class Report:
    """All tensors, most sensitive first; average bits a weight and share of weights hit; accuracies in percent or -1.

    `accuracy_integers` is that of integer arithmetic throughout, where stations were calibrated.
    """

    tensors: tuple[TensorReport, ...]
    bits: float
    nonzero: float
    accuracy_floats: float = -1.0
    accuracy_weights: float = -1.0
    accuracy_integers: float = -1.0


def report(
    graph: Graph,
    weights: Tensors,
    result: Quantized,
    samples: NDArray[Any] | None = None,
    labels: NDArray[np.int64] | None = None,
    sensitivity: int = 256,
    *,
    run: Run = forward,
    integers: IntegerRun | None = None,
) -> Report:
    """What the result of `quantize` holds, and how far its outputs are off on samples [samples, units].

    Sequences are [samples, steps, units]. Accuracies need labels [samples] or [samples, steps]; sensitivities are
    taken from the first `sensitivity` samples. `run` and `integers` evaluate nets; without them the interpreters do.
    """
    before = float_tensors(graph, weights)
    if result.calibrated:
        graph, before = for_integers(graph, before)
    after = float_tensors(graph, result.tensors)
    names = [name for name in before if name in result.tensors and not name.endswith(_OF_STATIONS)]
    few = None if samples is None else as_samples(graph, samples[:sensitivity])
    exact = None if few is None else run(graph, before, few)
    found: list[TensorReport] = []
    for name in names:
        tensor = result.tensors[name]
        error = accuracy = -1.0
        if few is not None and exact is not None:
            outputs = run(graph, {**before, name: after[name]}, few)
            norm = float(np.sqrt(np.mean(exact**2))) or 1.0
            error = float(np.sqrt(np.mean((outputs - exact) ** 2))) / norm
            accuracy = -1.0 if labels is None else _share([outputs], labels[:sensitivity])
        found.append(TensorReport(name, tensor.size, bits_of(tensor), _nonzero(tensor), error, accuracy))
    found.sort(key=lambda each: -each.error)
    total = sum(each.weights for each in found) or 1
    bits = sum(each.bits * each.weights for each in found) / total
    nonzero = sum(each.nonzero * each.weights for each in found) / total
    if samples is None or labels is None:
        return Report(tuple(found), bits, nonzero)
    integer = integer_accuracy(result, samples, labels, integers)
    floats, quantized = (accuracy_of(graph, tensors, samples, labels, run) for tensors in (before, after))
    return Report(tuple(found), bits, nonzero, floats, quantized, integer)


def bits_of(integers: NDArray[Any]) -> int:
    """Bits of the largest magnitude and a sign; 16 of floats, which are bfloat16."""
    if integers.dtype.kind == "f":
        return _HALF
    wide = integers.astype(np.int64).reshape(-1)
    return max(int(wide.max(initial=0)), -int(wide.min(initial=0))).bit_length() + 1


def accuracy_of(
    graph: Graph, weights: Tensors, samples: NDArray[Any], labels: NDArray[np.int64], run: Run = forward
) -> float:
    """Percent of samples [samples, units] whose largest output is their label, in floating point."""
    return _share([run(graph, weights, part) for part in _parts(graph, samples)], labels)


def integer_accuracy(
    result: Quantized, samples: NDArray[Any], labels: NDArray[np.int64], run: IntegerRun | None = None
) -> float:
    """The same in integer arithmetic; -1 if the result was not calibrated."""
    if not result.calibrated:
        return -1.0
    if run is None:
        network = integer_network(result.graph, result.tensors)
        return _share([integer_forward(network, part) for part in _parts(result.graph, samples)], labels)
    return _share([run(result, part) for part in _parts(result.graph, samples)], labels)


def _parts(graph: Graph, samples: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Samples in the shape the net takes, some at a time."""
    return (as_samples(graph, samples[i : i + _CHUNK]) for i in range(0, len(samples), _CHUNK))


def _share(outputs: Sequence[NDArray[Any]], labels: NDArray[np.int64]) -> float:
    found = np.concatenate(outputs)
    return 100.0 * float((found.reshape(*labels.shape, -1).argmax(axis=-1) == labels).mean())


def _nonzero(integers: NDArray[Any]) -> float:
    return float((integers != 0).mean()) if integers.size else 0.0
