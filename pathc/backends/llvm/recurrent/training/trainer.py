"""Training of nets with sequences from Python: cut at cells and `steps`, backwards through time over all steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.machine import Machine, host
from pathc.backends.llvm.recurrent.training.cell import TrainedCell
from pathc.backends.llvm.recurrent.training.losses import judged
from pathc.backends.llvm.recurrent.training.parameters import Parameters, Window
from pathc.backends.llvm.recurrent.training.piece import Piece
from pathc.backends.llvm.recurrent.training.stage import Array, Stage, Work
from pathc.backends.llvm.training.arguments import check_arguments, check_state, untrainable
from pathc.backends.llvm.training.optimizers import Optimizer
from pathc.backends.llvm.training.tasks import Loss
from pathc.backends.llvm.training.trainer import STEP, StepResult
from pathc.ir.cells import cell_of
from pathc.ir.cutcells import segments_of
from pathc.ir.graph import Graph
from pathc.ir.interp import supports
from pathc.ir.interp.junctions import real_read_size, real_size
from pathc.ir.sequences import fixed_steps, takes_sequences
from pathc.ir.weights import check_weights, expected_tensors
from pathc.support.diagnostics import Diagnostic, PathcError, error
from pathc.support.files import memory_limit

_KEPT = 2
"""Memories of batches that are kept for later ones."""


@dataclass(eq=False)
class Steps:
    """What a forward pass leaves behind for the backward pass, which uses it up: memory of every stage.

    `known` are the rows of stations, those of the outputs under "".
    """

    shape: tuple[int, int]
    works: list[Work]
    known: dict[str, Array] = field(default_factory=dict[str, Array])
    used: bool = False


def without_kernels(graph: Graph) -> list[Diagnostic]:
    """What of a net with sequences the trainer lacks: E0377 for lines that cannot be cut, and as `untrainable`."""
    if found := supports(graph):
        return found
    try:
        pieces = segments_of(graph, {name: np.zeros(shape) for name, shape in expected_tensors(graph).items()})
    except PathcError as mistake:
        return list(mistake.diagnostics)
    return [diagnostic for piece in pieces for diagnostic in untrainable(piece.graph)]


class SequenceTrainer:
    """A graph with sequences in training, as `Trainer` is for others.

    Inputs are float32 [n, steps, inputs], or [n, inputs] of nets with `steps`, channels with their extents side by
    side. A loss is the mean over all steps of all sequences: cross-entropy takes integer labels [n, steps], mse float32
    [n, steps, outputs]. Every sequence begins without a state. Normalizations go by the statistics of all steps of the
    batch. Results do not depend on `threads`. Raises as `Trainer` does, and E0377 for lines that cannot be cut at a
    cell.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, NDArray[Any]],
        *,
        loss: Loss = "cross-entropy",
        optimizer: Optimizer | None = None,
        batch: int = 16,
        threads: int = 1,
        machine: Machine | None = None,
    ) -> None:
        found = [*without_kernels(graph), *check_weights(graph, weights)]
        if found:
            raise PathcError(*found)
        check_arguments(graph, loss, optimizer, batch, (), weights)
        self.graph, self.batch, self.threads = graph, batch, max(1, threads)
        self.loss: Loss = loss
        self.machine = machine or host()
        self.step_count = 0
        self._parameters = Parameters(graph, optimizer, self.machine)
        self._parameters.put(self._parameters.weights, weights)
        self._steps, self._takes = fixed_steps(graph), takes_sequences(graph)
        ends = np.cumsum([0, *map(real_size, graph.inputs)])
        self._inputs = int(ends[-1])
        self._entering = {
            s.name: slice(int(first), int(end)) for s, first, end in zip(graph.inputs, ends, ends[1:], strict=False)
        }
        self._outputs = sum(map(real_read_size, graph.outputs))
        self._stages = self._cut()
        self._free: list[Steps] = []
        self._take()

    def step(
        self, x: Array, target: NDArray[Any], *, lr: float | None = None, window: Window | None = None
    ) -> StepResult:
        """One step of the optimizer; the loss is that before the step. `lr` and `window` as for `Trainer`.

        Raises E0702 and E0701 for arrays that do not fit, E0710 for labels that name no output.
        """
        if self._parameters.mover is None:
            raise error("E0621", "there is no optimizer to make a step with", help="pass optimizer = Sgd(lr = 0.1)")
        inside = None if window is None else self._parameters.inside(window)
        if inside is not None:
            self._take(inside)
        try:
            result = self._learn(x, target)
            moved = [each for stage in self._stages for each in stage.piece.moved(self._parameters.weights)]
            self.step_count += 1
            self._parameters.move(lr, self.step_count, inside)
            # No optimizer moves statistics, nor does its weight decay.
            for where, values in moved:
                self._parameters.weights[where] = values
        finally:
            self._take()
        return result

    def evaluate(self, x: Array, target: NDArray[Any]) -> StepResult:
        """Loss and right steps of any number of sequences, forwards only; raises as `step`."""
        total, correct = 0.0, 0
        for start in range(0, max(len(x), 1), self.batch):
            part, wanted = x[start : start + self.batch], target[start : start + self.batch]
            found = self._judge(*self._checked(part, wanted))
            total, correct = total + found.loss * len(part), correct + found.correct
        return StepResult(total / len(x), correct)

    def gradients(self, x: Array, target: NDArray[Any]) -> tuple[float, dict[str, Array]]:
        """Loss and gradients of its mean by tensor, natural order; raises as `step`."""
        result = self._learn(x, target)
        return result.loss, self._parameters.trained()

    def forward(self, x: Array, *, by_batch: bool = False) -> tuple[Array, Steps]:
        """Outputs [n, steps, outputs] of inputs, and what `backward` needs.

        `by_batch`, normalizations go by the statistics of the batch, by the stored ones otherwise. Raises E0701, E0702.
        """
        steps = self._run(self._sequences(x), self._stages, by_batch=by_batch)
        return steps.known[""].reshape(*steps.shape, -1).copy(), steps

    def backward(self, steps: Steps, dy: Array, *, inputs: bool = True) -> tuple[Array, dict[str, Array]]:
        """Gradients at inputs (empty if not asked for) and tensors, given those at the outputs; once for each forward.

        The weights must be those of the forward pass.
        """
        if dy.shape != (*steps.shape, self._outputs) or dy.dtype != np.float32:
            raise error("E0702", f"there are {list(steps.shape)} steps, and gradients {list(dy.shape)} {dy.dtype}")
        if steps.used:
            raise error("E0702", "a forward pass was gone back through before", help="run it again")
        rows = np.ascontiguousarray(dy).reshape(-1, self._outputs)
        self._parameters.gradients[:] = 0.0
        deltas = self._back(steps, self._ends(steps, rows, inputs), inputs)
        lead = steps.shape[: 1 + self._takes]
        dx = np.zeros((*(lead if inputs else (0,) * len(lead)), self._inputs), np.float32)
        for station, part in self._entering.items() if inputs else ():
            if station in deltas:
                dx[..., part] = deltas[station].reshape(*lead, -1)
        return dx, self._parameters.trained()

    def release(self, steps: Steps) -> None:
        """Let a later pass use the memory of one that is done."""
        for stage, work in zip(self._stages, steps.works, strict=True):
            if work.saved is not None:
                stage.piece.release(work.saved)
                work.saved = None
        self._free.append(steps)
        del self._free[:-_KEPT]

    def weights(self) -> dict[str, Array]:
        """All tensors in natural order, float32."""
        return self._parameters.named(self._parameters.weights)

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take other weights; moments stay. Raises E0505 to E0508."""
        found = check_weights(self.graph, weights)
        if found:
            raise PathcError(*found)
        self._parameters.put(self._parameters.weights, weights)
        self._take()

    def state(self) -> dict[str, NDArray[Any]]:
        """Moments as `<moment>:<tensor>`, and `step`; with the weights, all that resuming needs."""
        return {STEP: np.array(self.step_count, np.int64), **self._parameters.state()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the state of a trainer of the same model and optimizer. Raises E0622 if it does not fit."""
        check_state(self.state(), state)
        self.step_count = int(state[STEP])
        self._parameters.load_state(state)

    # Making

    def _cut(self) -> list[Stage]:
        """The stages of the net; weights in segments are their places in the array of all."""
        stages: list[Stage] = []
        given = set(self._entering)
        for segment in segments_of(self.graph, self._parameters.numbered()):
            station = self.graph.station(segment.station) if segment.station else None
            found = cell_of(station) if station is not None else None
            loss = self.loss if found is None and self._softmax_within(segment.graph) else "none"
            flat = self._parameters.weights
            piece = Piece(segment, flat, loss=loss, machine=self.machine, threads=self.threads)
            cell = None
            if found is not None and station is not None:
                units = station.real_units
                cell = TrainedCell(found, self.machine, units, highway=segment.highway, threads=self.threads)
            stages.append(Stage(piece, cell, inner=not given.issuperset(segment.reads)))
            given.difference_update(segment.unrolled)
        if self.loss == "cross-entropy" and stages[-1].cell is not None:
            text = "cross-entropy takes an output that ends in softmax, the model ends in a cell"
            raise error("E0620", text, self.graph.loc, help="use squared errors, or a softmax behind the cell")
        return stages

    def _softmax_within(self, last: Graph) -> bool:
        """Whether the last piece has the softmax of the output, so that it can take the loss of its argument."""
        outer, inner = self.graph.outputs[0].pipeline, last.outputs[0].pipeline
        ends = bool(outer) and outer[-1].name == "softmax"
        return self.loss != "cross-entropy" or not ends or inner[-1:] == outer[-1:]

    def _take(self, inside: NDArray[np.bool_] | None = None) -> None:
        """Bring the weights into the kernels' order; those of a window alone, the others as zeros."""
        flat = self._parameters.weights
        if inside is not None:
            flat = np.where(inside, flat, np.float32(0.0))
        for stage in self._stages:
            stage.piece.take(flat)
            if stage.cell is not None:
                stage.cell.load(flat[self._matrices(stage)])

    def _matrices(self, stage: Stage) -> slice:
        """Where the hidden-to-hidden weights of a stage lie."""
        return self._parameters.span(stage.cell.cell.tensors if stage.cell is not None else ())

    # Running

    def _sequences(self, x: Array) -> Array:
        """Checked inputs, contiguous."""
        if x.dtype != np.float32:
            raise error("E0701", f"the input is {x.dtype}, not float32", help="convert with `.astype(np.float32)`")
        if x.ndim != 2 + self._takes or x.shape[-1] != self._inputs or not all(x.shape[:-1]):
            lead, least = ("n, steps", "n and steps") if self._takes else ("n", "n")
            text = f"the input has shape {list(x.shape)}, not [{lead}, {self._inputs}] with {least} at least 1"
            raise error("E0702", text, help="give sequences of at least one step" if self._takes else "give samples")
        return np.ascontiguousarray(x)

    def _shape(self, x: Array) -> tuple[int, int]:
        """Sequences and steps of an input."""
        return len(x), x.shape[1] if self._takes else self._steps

    def _checked(self, x: Array, target: NDArray[Any]) -> tuple[Array, NDArray[Any]]:
        """Inputs, and targets by row."""
        if self.loss == "none":
            raise error("E0620", "the trainer has no loss", help="pass loss = 'cross-entropy' or 'mse'")
        x = self._sequences(x)
        shape = self._shape(x)
        if self.loss == "cross-entropy":
            if target.shape != shape or target.dtype.kind not in "ui":
                text = f"labels are {target.dtype} of shape {list(target.shape)}, not integers {list(shape)}"
                raise error("E0702", text, help="give one integer label per step")
            return x, np.ascontiguousarray(target, np.int64).reshape(-1)
        if target.shape != (*shape, self._outputs) or target.dtype != np.float32:
            text = f"targets are {target.dtype} of shape {list(target.shape)}"
            raise error("E0702", text, help=f"give float32 {[*shape, self._outputs]}")
        return x, np.ascontiguousarray(target).reshape(-1, self._outputs)

    def _spare(self, batch: int, steps: int) -> Steps:
        """Memory for so many sequences and steps, released memory if there is such."""
        for number, each in enumerate(self._free):
            if each.shape == (batch, steps):
                found = self._free.pop(number)
                return Steps(found.shape, found.works)
        needed, limit = sum(stage.bytes(batch, steps) for stage in self._stages), memory_limit()
        if needed > limit:
            text = f"{batch} sequences of {steps} steps need {needed} bytes in training, the memory can take {limit}"
            raise error("E0502", text, self.graph.loc, help="use a smaller batch, or shorter sequences")
        return Steps((batch, steps), [stage.memory(batch, steps) for stage in self._stages])

    def _run(self, x: Array, stages: Sequence[Stage], *, by_batch: bool) -> Steps:
        """Stages forwards."""
        steps = self._spare(*self._shape(x))
        rows = x.reshape(-1, self._inputs)
        steps.known.update({name: rows[:, part] for name, part in self._entering.items()})
        for stage, work in zip(stages, steps.works, strict=False):
            steps.known.update(stage.forward(work, steps.known, by_batch=by_batch))
        if self._stages[-1].cell is not None:
            steps.known[""] = steps.known[self.graph.outputs[0].name]
        return steps

    def _judge(self, x: Array, target: NDArray[Any], *, gradient: bool = False) -> StepResult:
        """The loss; with its gradient in the array of all."""
        last = self._stages[-1]
        within = last.piece.loss != "none"
        steps = self._run(x, self._stages[:-1] if within else self._stages, by_batch=gradient)
        if within:
            further, work = last.inner, steps.works[-1]
            back = work.back if further else None
            result = last.piece.judge(last.rows(work, steps.known), target, back, gradient=gradient)
            if gradient:
                self._parameters.gradients[:] = 0.0
                last.piece.gather(self._parameters.gradients)
                deltas: dict[str, Array] = {}
                if further:
                    last.hand_on(work, deltas)
                self._back(steps, deltas, False)
        else:
            result, at_outputs = judged(steps.known[""], target, self.loss)
            if gradient:
                self._parameters.gradients[:] = 0.0
                self._back(steps, self._ends(steps, at_outputs, False), False)
        self.release(steps)
        return result

    def _learn(self, x: Array, target: NDArray[Any]) -> StepResult:
        """Loss, and gradients in the array of all."""
        return self._judge(*self._checked(x, target), gradient=True)

    def _ends(self, steps: Steps, rows: Array, inputs: bool) -> dict[str, Array]:
        """Gradients at stations behind the last cell's net, given those at the outputs."""
        last, deltas = self._stages[-1], dict[str, Array]()
        if last.cell is not None:
            return {self.graph.outputs[0].name: rows}
        self._undo(last, steps.works[-1], rows, deltas, inputs)
        return deltas

    def _back(self, steps: Steps, deltas: dict[str, Array], inputs: bool) -> dict[str, Array]:
        """All stages that deltas lead to backwards; gradients at stations."""
        steps.used = True
        for stage, work in zip(reversed(self._stages), reversed(steps.works), strict=True):
            if (dy := stage.arrived(work, deltas)) is not None:
                self._undo(stage, work, dy, deltas, inputs)
        return deltas

    def _undo(self, stage: Stage, work: Work, dy: Array, deltas: dict[str, Array], inputs: bool) -> None:
        further = inputs or stage.inner
        stage.backward(work, dy, self._parameters.gradients, self._matrices(stage), further=further)
        if further:
            stage.hand_on(work, deltas)
