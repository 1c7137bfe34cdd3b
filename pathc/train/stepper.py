"""What the training loop steps: weights in, samples through, weights moved.

Two kinds serve the loop: compiled kernels (`llvm`) and the float64 interpreter (`reference`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.training.optimizers import Adam, Momentum, Optimizer, Sgd
from pathc.backends.llvm.training.precision import PRECISIONS, Precision
from pathc.ir.graph import Graph
from pathc.ir.interp.junctions import real_read_size
from pathc.ir.misfits import plain_only
from pathc.ir.sequences import gives_sequences
from pathc.ir.weights import Tensors
from pathc.support.diagnostics import Diagnostic, PathcError, Severity, UsageError, did_you_mean, error
from pathc.targets import parse_target

if TYPE_CHECKING:
    from pathc.backends.llvm.recurrent.training import SequenceTrainer
    from pathc.backends.llvm.training import Trainer

Target = NDArray[np.int64] | NDArray[np.float32]
"""Labels [batch] for cross-entropy, values [batch, units] otherwise."""
Loss = Literal["cross-entropy", "mse"]
CROSS_ENTROPY: Loss = "cross-entropy"
MSE: Loss = "mse"
LOSSES: tuple[Loss, ...] = (CROSS_ENTROPY, MSE)
"""Means over the batch: -log of the probability of the label; mean over the units of the squared difference."""
TARGETS = ("llvm", "reference")
"""Targets that train."""
OPTIMIZERS: Mapping[str, type[Optimizer]] = {"adam": Adam, "momentum": Momentum, "sgd": Sgd}
RATES: Mapping[str, float] = {"adam": 3e-3, "momentum": 0.05, "sgd": 0.2}
"""Learning rates that do well with the default schedule, by optimizer."""


class Outcome(Protocol):
    """What a batch gave: the mean loss over its samples, and how many of them were classified rightly."""

    @property
    def loss(self) -> float:
        """Mean loss over the batch."""
        ...

    @property
    def correct(self) -> int:
        """Samples whose largest output is that of the label; 0 where there are no labels."""
        ...


@dataclass(frozen=True)
class Judged:
    """An outcome."""

    loss: float
    correct: int


class Stepper(Protocol):
    """A net in training."""

    def step(
        self, x: NDArray[np.float32], target: Target, *, lr: float | None = None, window: tuple[int, int] | None = None
    ) -> Outcome:
        """Forward, backward, move the weights; paths outside `window` are neither used nor moved.

        A window (first, end) with end <= first is wrapped around. The outcome is that before the weights moved.
        """
        ...

    def evaluate(self, x: NDArray[np.float32], target: Target) -> Outcome:
        """Loss and hits of any number of samples; nothing moves."""
        ...

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """A copy of the weights by tensor."""
        ...

    def load(self, weights: Tensors) -> None:
        """Take other weights; what the optimizer remembers stays."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """A copy of all that the next step depends on beside the weights."""
        ...

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a state, after its weights were loaded: the steps are the same, bit by bit."""
        ...


@dataclass(frozen=True)
class Plan:
    """How a net is to be trained, apart from the data."""

    loss: Loss
    optimizer: Optimizer
    batch: int
    threads: int = 1
    fixed_signs: bool = False
    feedback: str = "paths"
    seed: int = 0


def loss_for(graph: Graph, labels: bool, wanted: str = "") -> Loss:
    """The loss of a net: cross-entropy if it ends in softmax and there are labels, the mean squared error otherwise.

    Raises PathcError E0913 for a loss that does not fit, or that does not exist.
    """
    stations = graph.outputs
    ends = stations[0].pipeline[-1].name if len(stations) == 1 and stations[0].pipeline else ""
    fits: Loss = CROSS_ENTROPY if ends == "softmax" and labels else MSE
    called = loss_called(wanted)
    if called is None:
        return fits
    if called == MSE:
        return MSE
    if fits == MSE:
        reason = "there are no labels" if not labels else f"the output station ends in `{ends or 'nothing'}`"
        text = f"cross-entropy needs labels and one output station that ends in softmax: {reason}"
        raise error("E0913", text, stations[0].loc if stations else graph.loc, help="use --loss mse")
    return CROSS_ENTROPY


def loss_called(name: str) -> Loss | None:
    """The loss of that name, None for the net's own (""); raises E0913 for an unknown one."""
    found: Loss | None = next((loss for loss in LOSSES if loss == name), None)
    if name and found is None:
        raise error("E0913", f"there is no loss `{name}`", help=did_you_mean(name, LOSSES) or "cross-entropy, mse")
    return found


def optimizer_for(name: str, lr: float | None = None, weight_decay: float = 0.0) -> Optimizer:
    """The optimizer of that name with its usual numbers; raises UsageError E0909 for an unknown one.

    Weight decay is decoupled under Adam (Loshchilov and Hutter, 2019), a part of the gradient elsewhere.
    """
    if name not in OPTIMIZERS:
        help = did_you_mean(name, OPTIMIZERS) or f"optimizers: {', '.join(OPTIMIZERS)}"
        raise UsageError(Diagnostic("E0909", f"there is no optimizer `{name}`", help=help))
    maker: Any = OPTIMIZERS[name]
    decoupled = {"decoupled": True} if name == "adam" else {}
    return maker(lr=RATES[name] if lr is None else lr, weight_decay=weight_decay, **decoupled)


def stepper_for(graph: Graph, weights: Tensors, plan: Plan, target: str = "llvm") -> tuple[Stepper, list[Diagnostic]]:
    """A net ready to be trained, and what is to be said about its speed.

    `target` may choose the factors of products, `llvm{precision=bf16}`. Raises PathcError: E0610 for stages that
    cannot be trained, E0915 for another target, E0603 and E0379 for what a precision does not know.
    """
    target, precision = target_of(target)
    from pathc.backends.llvm.recurrent.training import without_kernels
    from pathc.backends.llvm.training import untrainable

    sequences = gives_sequences(graph)
    lacking = without_kernels(graph) if sequences else untrainable(graph)
    if precision != "f32" and (sequences or plan.feedback != "paths"):
        what = "recurrent cells" if sequences else f"feedback `{plan.feedback}`"
        text = f"training with factors of {precision} has no {what}"
        raise error("E0603", text, graph.loc, help="leave out `precision`")
    if precision != "f32" and lacking:
        raise PathcError(*lacking)
    if target == "llvm" and plan.feedback == "paths" and not lacking and not (sequences and plan.fixed_signs):
        trainer = _compiled(graph, weights, plan, sequences, precision)
        return (OneHot(trainer) if plan.loss == MSE else trainer), []
    from pathc.ir.interp import supports
    from pathc.train.reference import ReferenceStepper

    found = supports(graph)
    if found:
        raise PathcError(*found)
    if plain_only(graph, "feedback has") and (plan.feedback != "paths" or plan.fixed_signs):
        text = "nets with extents or recurrent cells are trained along their paths, signs free"
        raise error("E0909", text, graph.loc, help="leave out --feedback and --fixed-signs")
    return ReferenceStepper(graph, weights, plan), [_slow(plan, lacking if target == "llvm" else [])]


def target_of(text: str) -> tuple[str, Precision]:
    """A target that trains, and the precision of its products; raises UsageError E0806 and E0915, E0603."""
    name, options = parse_target(text)
    if name not in TARGETS:
        hint = did_you_mean(name, TARGETS) or "-t llvm"
        raise UsageError(Diagnostic("E0915", f"the target `{name}` cannot train", help=hint))
    wanted = str(options.pop("precision", "f32"))
    precision: Precision | None = next((each for each in PRECISIONS if each == wanted), None)
    if precision is None:
        raise error("E0603", f"there is no precision `{wanted}`", help=" or ".join(PRECISIONS))
    if options or (name != "llvm" and precision != "f32"):
        which = next(iter(options), "precision")
        text = f"training on `{name}` has no option `{which}`"
        raise error("E0603", text, help="`llvm{precision=bf16}` is the only one; threads are set by --threads")
    return name, precision


def _compiled(
    graph: Graph, weights: Tensors, plan: Plan, sequences: bool, precision: Precision
) -> Trainer | SequenceTrainer:
    """Compiled kernels."""
    from pathc.backends.llvm.recurrent.training import SequenceTrainer
    from pathc.backends.llvm.training import Trainer

    loss, rule, threads = plan.loss, plan.optimizer, plan.threads or len(os.sched_getaffinity(0))
    if sequences:
        return SequenceTrainer(graph, weights, loss=loss, optimizer=rule, batch=plan.batch, threads=threads)
    return Trainer(
        graph, weights, loss=loss, optimizer=rule, batch=plan.batch, threads=threads, fixed_signs=plan.fixed_signs,
        precision=precision,
    )  # fmt: skip


class OneHot:
    """Compiled kernels under squared errors, which take values: labels become 1 at their unit and 0 elsewhere.

    Hits are counted by `evaluate` alone.
    """

    def __init__(self, trainer: Trainer | SequenceTrainer) -> None:
        self._trainer = trainer
        self._units = np.eye(sum(real_read_size(s) for s in trainer.graph.outputs), dtype=np.float32)
        self._axes = 1 + gives_sequences(trainer.graph)
        self.weights, self.load = trainer.weights, trainer.load
        self.state, self.load_state = trainer.state, trainer.load_state

    def step(
        self, x: NDArray[np.float32], target: Target, *, lr: float | None = None, window: tuple[int, int] | None = None
    ) -> Outcome:
        """A step towards the values, or those the labels stand for."""
        return self._trainer.step(x, self._values(target), lr=lr, window=window)

    def evaluate(self, x: NDArray[np.float32], target: Target) -> Outcome:
        """Loss, and hits where the targets are labels."""
        loss = self._trainer.evaluate(x, self._values(target)).loss
        if target.ndim != self._axes:
            return Judged(loss, 0)
        hits = 0
        for start in range(0, len(x), self._trainer.batch):
            outputs = self._outputs(x[start : start + self._trainer.batch])
            hits += int(np.count_nonzero(outputs.argmax(axis=-1) == target[start : start + len(outputs)]))
        return Judged(loss, hits)

    def _outputs(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        trainer: Any = self._trainer
        outputs, saved = trainer.forward(x)
        trainer.release(saved)
        return outputs

    def _values(self, target: Target) -> NDArray[np.float32]:
        labels = target.ndim == self._axes
        return self._units[target.astype(np.int64)] if labels else target.astype(np.float32, copy=False)


def _slow(plan: Plan, beyond: Sequence[Diagnostic]) -> Diagnostic:
    lacking = "direct feedback has" if plan.feedback != "paths" else ""
    lacking = "training this net has" if beyond else lacking
    why = f"{lacking} no compiled kernels" if lacking else "the reference was asked for"
    text = f"{why}: training runs in the float64 interpreter, ten to a hundred times slower than compiled kernels"
    notes = tuple(each.message for each in beyond)
    help = "use few samples, few paths or few epochs"
    return Diagnostic("W0902", text, help=help, notes=notes, severity=Severity.NOTE)
