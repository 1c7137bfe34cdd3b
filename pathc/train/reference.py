"""Training in the float64 interpreter: the oracle of the compiled trainer, and direct feedback alignment.

Direct feedback alignment (Nokland, 2016; Lillicrap et al., 2016) replaces the error a hidden layer receives through
the weights behind it by B e: the error e at the output's sums times a fixed pseudo-random matrix B [units, outputs].
B is drawn again from its seed whenever it is needed and never stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.training.optimizers import Adam, Momentum
from pathc.ir.graph import Graph, Station
from pathc.ir.inputs import as_samples
from pathc.ir.interp import Trace, backward, evaluate
from pathc.ir.interp.activations import activation
from pathc.ir.interp.junctions import junctions_of
from pathc.ir.interp.statistics import moved_statistics
from pathc.ir.sequences import gives_sequences
from pathc.ir.weights import Tensors, path_axes
from pathc.train.stepper import CROSS_ENTROPY, Judged, Plan, Target

Values = NDArray[np.float64]
_TINY = 1e-300
_STREAM = 1 << 62
"""Key of the feedback matrices, apart from that of the shuffling."""


class ReferenceStepper:
    """A `Stepper` in float64, one sample after the other.

    Stations with extents take rows of units, channel by channel. Nets with cells take sequences [batch, steps, units]
    and targets [batch, steps] or [batch, steps, units]; gradients go backwards through all steps.
    """

    def __init__(self, graph: Graph, weights: Tensors, plan: Plan) -> None:
        self._graph, self._plan, self._sequences = graph, plan, gives_sequences(graph)
        self._paths = path_axes(graph)
        self._weights: dict[str, Values] = {}
        self._signs: dict[str, Values] = {}
        self.load(weights)
        self._moments = {f"{m}.{n}": np.zeros_like(w) for m in plan.optimizer.moments for n, w in self._weights.items()}
        self._steps = 0

    def step(
        self,
        x: NDArray[np.float32],
        target: Target,
        *,
        lr: float | None = None,
        window: tuple[int, int] | None = None,
    ) -> Judged:
        """Forward, backward, move the weights; paths outside `window` are neither used nor moved."""
        used, x = self._windowed(window), as_samples(self._graph, x)
        trace = evaluate(self._graph, used, x, training=True)
        result, gradient = self._loss(trace.outputs, target)
        self._weights.update(moved_statistics(self._graph, used, trace))
        if self._plan.feedback == "paths":
            _, gradients = backward(self._graph, used, x, gradient, training=True, trace=trace)
        else:
            gradients = self._feedback(trace, used, x, gradient)
        self._steps += 1
        for name, values in gradients.items():
            for inside in self._inside(name, window):
                self._move(name, values, self._plan.optimizer.lr if lr is None else lr, inside)
        return result

    def gradients(self, x: NDArray[np.float32], target: Target) -> dict[str, Values]:
        """Gradients of the mean loss by tensor."""
        x = as_samples(self._graph, x)
        trace = evaluate(self._graph, self._weights, x, training=True)
        _, gradient = self._loss(trace.outputs, target)
        if self._plan.feedback == "paths":
            return backward(self._graph, self._weights, x, gradient, training=True, trace=trace)[1]
        return self._feedback(trace, self._weights, x, gradient)

    def evaluate(self, x: NDArray[np.float32], target: Target) -> Judged:
        """Loss and hits; nothing moves."""
        return self._loss(evaluate(self._graph, self._weights, as_samples(self._graph, x)).outputs, target)[0]

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """A copy of the weights."""
        with np.errstate(over="ignore"):
            return {name: values.astype(np.float32) for name, values in self._weights.items()}

    def load(self, weights: Tensors) -> None:
        """Take other weights; with fixed signs these say what the signs are."""
        self._weights = {name: np.array(values, np.float64) for name, values in weights.items()}
        if self._plan.fixed_signs:
            self._signs = {n: np.where(np.signbit(self._weights[n]), -1.0, 1.0) for n in self._paths}

    def state(self) -> dict[str, NDArray[Any]]:
        """A copy of the moments and the number of steps, and of the weights, which are float64 here."""
        stored = {f"weight.{name}": values.copy() for name, values in self._weights.items()}
        stored.update({name: values.copy() for name, values in self._moments.items()})
        return {**stored, "step": np.array(self._steps, np.int64)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a state."""
        self._weights = {name: np.array(state[f"weight.{name}"]) for name in self._weights}
        self._moments = {name: np.array(state[name]) for name in self._moments}
        self._steps = int(state["step"])

    def _windowed(self, window: tuple[int, int] | None) -> dict[str, Values]:
        if window is None:
            return self._weights
        used = dict(self._weights)
        for name in self._paths:
            used[name] = np.zeros_like(used[name])
            for inside in self._inside(name, window):
                used[name][inside] = self._weights[name][inside]
        return used

    def _inside(self, name: str, window: tuple[int, int] | None) -> Sequence[Any]:
        """Indices of the weights of a tensor that take part in a step: all, or those of a window of paths.

        Lines into cells have copies in front of their paths, filters have taps behind them.
        """
        if name not in self._paths:
            return [...]
        axis = self._paths[name]
        return [(*(slice(None),) * axis, part) for part in _parts(window, self._weights[name].shape[axis])]

    def _move(self, name: str, gradient: Values, lr: float, inside: Any) -> None:
        """One step of the optimizer on some weights of a tensor."""
        weights, rule = self._weights[name][inside], self._plan.optimizer
        moments = [self._moments[f"{moment}.{name}"][inside] for moment in rule.moments]
        gradient = gradient[inside]
        if isinstance(rule, Adam):
            if rule.decoupled:
                weights *= 1.0 - lr * rule.weight_decay
            else:
                gradient = gradient + rule.weight_decay * weights
            moments[0] += (1.0 - rule.beta1) * (gradient - moments[0])
            moments[1] += (1.0 - rule.beta2) * (gradient * gradient - moments[1])
            mean = moments[0] / (1.0 - rule.beta1**self._steps)
            weights -= lr * mean / (np.sqrt(moments[1] / (1.0 - rule.beta2**self._steps)) + rule.eps)
        else:
            gradient = gradient + rule.weight_decay * weights
            if isinstance(rule, Momentum):
                moments[0] *= rule.momentum
                moments[0] += gradient
                gradient = moments[0]
            weights -= lr * gradient
        if name in self._signs:
            signs = self._signs[name][inside]
            weights[...] = signs * np.maximum(signs * weights, 0.0)

    def _loss(self, outputs: Values, target: Target) -> tuple[Judged, Values]:
        """Loss, hits, and the gradient with respect to the outputs; the steps of sequences count as samples."""
        lead = 1 + self._sequences
        if outputs.ndim > lead + 1:
            flat = outputs.reshape(*outputs.shape[:lead], math.prod(outputs.shape[lead:]))
            judged, gradient = self._loss(flat, target)
            return judged, gradient.reshape(outputs.shape)
        if outputs.ndim == 3:
            flat = target.reshape(-1) if target.ndim == 2 else target.reshape(-1, outputs.shape[2])
            judged, gradient = self._loss(outputs.reshape(-1, outputs.shape[2]), flat)
            return judged, gradient.reshape(outputs.shape)
        rows = np.arange(len(outputs))
        if target.ndim == 1:
            hits = int(np.count_nonzero(outputs.argmax(axis=1) == target))
            wanted = np.zeros_like(outputs)
            wanted[rows, target.astype(np.int64)] = 1.0
        else:
            hits, wanted = 0, target.astype(np.float64)
        with np.errstate(all="ignore"):
            if self._plan.loss == CROSS_ENTROPY:
                picked = (outputs * wanted).sum(axis=1)
                bounded = np.maximum(picked, _TINY)
                return Judged(float(-np.log(bounded).mean()), hits), -wanted / bounded[:, None] / len(rows)
            difference = outputs - wanted
            return Judged(float((difference**2).mean()), hits), 2.0 * difference / difference.size

    def _feedback(self, trace: Trace, weights: Tensors, x: NDArray[np.float32], gradient: Values) -> dict[str, Values]:
        """Gradients of direct feedback alignment: exact at the output, B e at every hidden station."""
        errors, start = dict[str, Values](), 0
        for station in self._graph.outputs:
            part = gradient[:, start : start + station.real_units]
            errors[station.name] = _at_sums(station, trace.sums[station.name], part)
            start += station.real_units
        outputs = {station.name for station in self._graph.outputs}
        error = np.concatenate([errors[s.name][:, : s.real_units] for s in self._graph.outputs], axis=1)
        for number, station in enumerate(self._graph.stations):
            if station.role != "input" and station.name not in outputs:
                back = error @ self._matrix(number, station, error.shape[1]).T
                errors[station.name] = _at_sums(station, trace.sums[station.name], back)
        gradients: dict[str, Values] = {}
        for junction in junctions_of(self._graph):
            if junction.tensor:
                values = trace.values[junction.source]
                part = junction.factor * junction.weight_gradient(values, errors[junction.destination])
                gradients[junction.tensor] = gradients.get(junction.tensor, 0.0) + part
        for station in self._graph.stations:
            if station.stage("bias") is not None:
                gradients[f"{station.name}.bias"] = errors[station.name][:, : station.real_units].sum(axis=0)
        return gradients

    def _matrix(self, number: int, station: Station, outputs: int) -> Values:
        """The feedback matrix of a station, [real units, outputs], uniform with variance 1 / outputs."""
        draw = np.random.Generator(np.random.Philox(key=[self._plan.seed, _STREAM + number]))
        bound = np.sqrt(3.0 / outputs)
        return draw.uniform(-bound, bound, (station.real_units, outputs))


def _parts(window: tuple[int, int] | None, count: int) -> list[slice]:
    """The paths of a step as slices: one, or two where the window is wrapped around."""
    if window is None:
        return [slice(None)]
    first, end = window
    return [slice(first, end)] if first < end else [slice(0, end), slice(first, count)]


def _at_sums(station: Station, sums: Values, gradient: Values) -> Values:
    """The gradient at the sums of a station, from that at what is read from it; zero at silent units."""
    functions = [f for stage in station.pipeline if (f := activation(stage)) is not None]
    arguments = [sums[:, : station.real_units]]
    for function in functions[:-1]:
        arguments.append(function.apply(arguments[-1]))
    for function, argument in zip(reversed(functions), reversed(arguments), strict=False):
        gradient = function.backward(argument, gradient)
    return np.pad(gradient, ((0, 0), (0, station.units - station.real_units)))
