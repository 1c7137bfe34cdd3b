"""Training from Python: one native call a step, weights in and out in natural path order."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.jit import Library, compile_ir
from pathc.backends.llvm.machine import Machine, host
from pathc.backends.llvm.native import address, aligned, runtime
from pathc.backends.llvm.threads import pool
from pathc.backends.llvm.training.arguments import check_arguments, check_memory, check_state, unnamed, untrainable
from pathc.backends.llvm.training.entry import ENTRY
from pathc.backends.llvm.training.held import Held
from pathc.backends.llvm.training.masks import Masks
from pathc.backends.llvm.training.model import build
from pathc.backends.llvm.training.optimizers import NUMBERS, Optimizer
from pathc.backends.llvm.training.precision import Precision, check_precision
from pathc.backends.llvm.training.program import Program
from pathc.backends.llvm.training.stations import NORM_NUMBERS
from pathc.backends.llvm.training.tasks import CONTEXT, Loss, Variant
from pathc.backends.llvm.training.tensors import Tensor
from pathc.ir.graph import Graph
from pathc.ir.interp import supports
from pathc.ir.interp.junctions import float_tensors, real_read_size, real_size
from pathc.ir.weights import MEAN, VARIANCE, check_weights
from pathc.support.diagnostics import PathcError, error

Array = NDArray[np.float32]
KEPT = 8
"""Released memories of forward passes that are kept for later ones."""
STEP = "step"
"""Name of the number of steps in a trainer's state."""


@dataclass(frozen=True)
class StepResult:
    """The loss, mean over the samples, and how many samples the outputs classify right (0 for squared errors)."""

    loss: float
    correct: int


@dataclass(frozen=True, eq=False)
class Saved:
    """What a forward pass leaves behind for the backward pass: the tiles of `count` samples.

    `by_batch`, normalizations went by the statistics of these samples.
    """

    acts: NDArray[np.uint8]
    count: int
    by_batch: bool = False


class Trainer:
    """A graph being trained on batches of up to `batch` samples.

    `weights` are tensors in natural path order, as files hold them. `loss` is "cross-entropy" (labels; the softmax
    is the last stage of the one output, or implied), "mse" (targets, mean over samples and outputs) or "none"
    (`forward` and `backward` alone). `fixed_signs` keeps the weights of paths and dense lines on their side of zero:
    one that would cross it becomes zero and keeps its sign bit. `frozen` names tensors that stay as they are. With
    `precision` "bf16" the factors of all products are rounded to bfloat16, for flat nets on processors with AMX.

    Paths that share an edge have weights of their own, each with its own step and moments. Results do not depend on
    `threads`. Raises E0505 to E0508 for weights that do not fit, E0603 for a precision no kernel has, E0610 for stages
    without kernels, E0620 for a loss that does not fit the outputs, E0621 for values no optimizer or batch may have.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, NDArray[Any]],
        *,
        loss: Loss = "cross-entropy",
        optimizer: Optimizer | None = None,
        batch: int = 128,
        threads: int = 1,
        machine: Machine | None = None,
        fixed_signs: bool = False,
        frozen: Collection[str] = (),
        precision: Precision = "f32",
    ) -> None:
        found = [*supports(graph), *untrainable(graph), *check_weights(graph, weights)]
        if found:
            raise PathcError(*found)
        check_arguments(graph, loss, optimizer, batch, frozen, weights)
        self.machine = machine or host()
        check_precision(graph, self.machine, precision)
        self.graph = graph
        self.loss: Loss = loss
        self.optimizer = optimizer
        self.batch = batch
        self.threads = max(1, threads)
        self.precision = precision
        self.fixed_signs = fixed_signs
        self.frozen = frozenset(frozen)
        self.step_count = 0
        moments = len(optimizer.moments) if optimizer else 0
        self._model = build(graph, self.machine, batch, frozen, moments, halves=precision == "bf16")
        check_memory(self._model)
        self._params = self._model.memory.build()
        self._inputs = sum(real_size(s) for s in graph.inputs)
        self._outputs = sum(real_read_size(s) for s in graph.outputs)
        self._programs: dict[Variant, tuple[Callable[[int], None], Library]] = {}
        self._free: list[NDArray[np.uint8]] = []
        self._acts = self._tiles(self._model.tiles)
        self._numbers = aligned(4 * NUMBERS).view(np.float32)
        self._sums = aligned(16 * self._model.tiles).view(np.float64)
        self._result = (ctypes.c_double * 3)()
        self._context = np.zeros(len(CONTEXT), np.int64)
        self._set(params=address(self._params), numbers=address(self._numbers), sums=address(self._sums))
        self._set(result=ctypes.addressof(self._result), acts=address(self._acts))
        self._held: Held | None = None
        if self.threads > 1:
            self._set(pool=pool(self.threads).address)
        self._step_context = self._context.ctypes.data
        self._training = Variant(loss, backward=True, update="step", by_batch=True)
        self._windowed = replace(self._training, windowed=True)
        self._masks = Masks(self._model)
        self.load(weights)

    @property
    def columns(self) -> int:
        """Samples of a tile."""
        return self._model.frame.columns

    def step(
        self,
        x: Array,
        target: NDArray[Any],
        *,
        lr: float | None = None,
        window: tuple[int, int] | None = None,
    ) -> StepResult:
        """One step of the optimizer on a batch of 1 to `batch` samples; the loss is that before the step.

        `x` is float32 [n, inputs]; `target` integer labels [n], or float32 [n, outputs] for squared errors. `lr`
        overrides the optimizer's. With `window` = (a, b) only paths a .. b-1 of every line of paths take part, those
        from a on and those before b where b < a: the others count as absent in this step, and neither they nor their
        moments change. A loss that is NaN or infinite
        is returned as such, and the weights have then moved to NaN as well. Raises E0702 and E0701 for arrays that do
        not fit, E0710 for labels that name no output.
        """
        optimizer = self._needs_optimizer()
        self._prepare(x, target)
        self._begin(optimizer, lr)
        if window is None:
            self._run(self._training)
        else:
            self._set(mask=self._masks.address(window), aside=self._masks.aside)
            self._run(self._windowed)
        self._check_labels()
        self.step_count += 1
        return self._outcome()

    def evaluate(self, x: Array, target: NDArray[Any]) -> StepResult:
        """Loss and right samples of any number of samples, forwards only; raises as `step`."""
        self._needs_loss()
        total, correct = 0.0, 0
        for start in range(0, max(len(x), 1), self.batch):
            part, wanted = x[start : start + self.batch], target[start : start + self.batch]
            self._prepare(part, wanted)
            self._run(Variant(self.loss))
            self._check_labels()
            outcome = self._outcome()
            total += outcome.loss * len(part)
            correct += outcome.correct
        return StepResult(total / len(x), correct)

    def gradients(self, x: Array, target: NDArray[Any]) -> tuple[float, dict[str, Array]]:
        """Loss and gradients of its mean with respect to every trained tensor, natural order; raises as `step`."""
        self._needs_loss()
        self._prepare(x, target)
        self._run(Variant(self.loss, backward=True, update="store", by_batch=True))
        self._check_labels()
        return self._outcome().loss, self._stored_gradients()

    def forward(self, x: Array, *, by_batch: bool = False) -> tuple[Array, Saved]:
        """Outputs [n, outputs] of float32 inputs [n, inputs], n >= 1 as large as you like, and what `backward` needs.

        `by_batch`, normalizations go by the statistics of these samples, by the stored ones otherwise. Raises E0701,
        E0702.
        """
        x = self._rows(x, self._inputs, "input", any_count=True)
        y = np.empty((len(x), self._outputs), np.float32)
        saved = Saved(self._spare(-(-len(x) // self.columns)), len(x), by_batch)
        self._set(x=address(x), x_stride=x.strides[0] // 4, y=address(y), y_stride=self._outputs)
        self._shape(len(x))
        self._run(Variant(outputs=True, by_batch=by_batch), saved.acts)
        return y, saved

    def backward(self, saved: Saved, dy: Array, *, inputs: bool = True) -> tuple[Array, dict[str, Array]]:
        """Gradients at inputs [n, inputs] (empty if not asked for) and trained tensors, given those at the outputs.

        The weights must be those of the forward pass.
        """
        dy = self._rows(dy, self._outputs, "output gradient", any_count=True)
        if len(dy) != saved.count:
            raise error("E0702", f"there are {saved.count} outputs and {len(dy)} gradients")
        dx = np.empty((len(dy), self._inputs if inputs else 0), np.float32)
        self._set(target=address(dy), target_stride=dy.strides[0] // 4, dx=address(dx), dx_stride=self._inputs)
        self._shape(len(dy))
        variant = Variant(forward=False, backward=True, inputs=inputs, update="store", by_batch=saved.by_batch)
        self._run(variant, saved.acts)
        return dx, self._stored_gradients()

    def statistics(self, saved: Saved) -> dict[str, Array]:
        """Mean and variance that normalizations went by in a forward pass, by tensor; the mean over evaluations."""
        found: dict[str, Array] = {}
        for name, tensor in self._model.tensors.items():
            number = {f".{MEAN}": 2, f".{VARIANCE}": 4}.get(name[name.find(".") :])
            if number is not None:
                norms = (place.norm for place in self._model.of_station(name.partition(".")[0]))
                parts = [saved.acts[n.at :][: 4 * NORM_NUMBERS * n.channels] for n in norms if n is not None]
                numbers = [part.view(np.float32).reshape(-1, NORM_NUMBERS)[:, number] for part in parts]
                found[name] = np.stack(numbers).mean(axis=0).reshape(tensor.shape)
        return found

    def release(self, saved: Saved) -> None:
        """Let a later forward pass use the memory of this one, whose backward pass is done."""
        self._free.append(saved.acts)
        del self._free[:-KEPT]

    def weights(self) -> dict[str, Array]:
        """All tensors in natural path order, float32."""
        return {name: self._natural(t, t.master) for name, t in self._model.tensors.items()}

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take other weights, natural order; moments stay. Raises E0505 to E0508."""
        found = check_weights(self.graph, weights)
        if found:
            raise PathcError(*found)
        values = float_tensors(self.graph, weights)
        for name, tensor in self._model.tensors.items():
            self._put(tensor, tensor.master, values[name])
        self._refresh()

    def state(self) -> dict[str, NDArray[Any]]:
        """Moments in natural order as `<moment>:<tensor>`, and `step`; with the weights, all that resuming needs."""
        state: dict[str, NDArray[Any]] = {STEP: np.array(self.step_count, np.int64)}
        for name, tensor in self._model.tensors.items():
            for moment, place in zip(self._moments(), tensor.moments, strict=False):
                state[f"{moment}:{name}"] = self._natural(tensor, place)
        return state

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the state of a trainer of the same model and optimizer. Raises E0622 if it does not fit."""
        check_state(self.state(), state)
        self.step_count = int(state[STEP])
        for name, tensor in self._model.tensors.items():
            for moment, place in zip(self._moments(), tensor.moments, strict=False):
                self._put(tensor, place, state[f"{moment}:{name}"])

    # One call

    def _run(self, variant: Variant, acts: NDArray[np.uint8] | None = None) -> None:
        found = self._programs.get(variant)
        if found is None:
            ir = Program(self._model, variant, self.optimizer, self.fixed_signs).text()
            imports = {"pathc_pool_run": runtime().address("pathc_pool_run")}
            library = compile_ir(ir, self.machine, imports=imports)
            found = library.function(ENTRY, None, ctypes.c_void_p), library
            self._programs[variant] = found
        if acts is not None:
            self._set(acts=address(acts))
        found[0](self._step_context)
        if acts is not None:
            self._set(acts=address(self._acts))

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            self._context[CONTEXT.index(name)] = value

    def _shape(self, count: int) -> None:
        self._set(count=count, tiles=-(-count // self.columns))

    def _prepare(self, x: Array, target: NDArray[Any]) -> None:
        """Point the call at a batch. Asking arrays for their addresses takes microseconds, so the last are kept."""
        held = self._held
        if held is not None and held.same(x, target):
            self._context[2:8] = held.fields
            return
        given = x, target
        x = self._rows(x, self._inputs, "input")
        if self.loss == "cross-entropy":
            if target.ndim != 1 or target.dtype.kind not in "ui":
                text = f"labels are {target.dtype} of shape {list(target.shape)}, not integers [{len(x)}]"
                raise error("E0702", text, help="give one integer label per sample")
            target = np.ascontiguousarray(target, np.int64)
            stride = 1
        else:
            target = self._rows(target, self._outputs, "target")
            stride = target.strides[0] // 4
        if len(target) != len(x):
            raise error("E0702", f"there are {len(x)} samples and {len(target)} targets")
        count = len(x)
        numbers = address(x), x.strides[0] // 4, address(target), stride, count, -(-count // self.columns)
        self._labels = target
        self._context[2:8] = fields = np.array(numbers, np.int64)
        self._held = Held.of(x, target, fields) if x is given[0] and target is given[1] else None

    def _rows(self, array: NDArray[Any], units: int, what: str, *, any_count: bool = False) -> Array:
        if array.dtype != np.float32:
            raise error("E0701", f"the {what} is {array.dtype}, not float32", help="convert with `.astype(np.float32)`")
        most = len(array) if any_count and array.ndim else self.batch
        if array.ndim != 2 or array.shape[1] != units or not 1 <= len(array) <= most:
            text = f"the {what} has shape {list(array.shape)}, not [1 to {self.batch}, {units}]"
            if any_count:
                raise error("E0702", f"the {what} has shape {list(array.shape)}, not [n, {units}] with n at least 1")
            raise error("E0702", text, help="`batch` of the trainer is the most samples at a time")
        plain = array.strides[1] == 4 and array.strides[0] >= 0 and array.strides[0] % 4 == 0
        return array if plain else np.ascontiguousarray(array)

    def _begin(self, optimizer: Optimizer, lr: float | None) -> None:
        numbers = optimizer.numbers(optimizer.lr if lr is None else lr, self.step_count + 1)
        self._numbers[: len(numbers)] = numbers

    def _outcome(self) -> StepResult:
        samples = int(self._context[6])
        per_loss = samples * (self._outputs if self.loss == "mse" else 1)
        return StepResult(self._result[0] / per_loss, int(self._result[1]))

    def _check_labels(self) -> None:
        if self.loss == "cross-entropy" and self._result[2]:
            labels = self._labels
            wrong = int(labels[(labels < 0) | (labels >= self._outputs)][0])
            raise unnamed(int(self._result[2]), wrong, self._outputs)

    # Memory

    def _tiles(self, count: int) -> NDArray[np.uint8]:
        return aligned(self._model.tile_bytes * count + 64)

    def _spare(self, count: int) -> NDArray[np.uint8]:
        """Memory of so many tiles, released memory if there is such."""
        for number, acts in enumerate(self._free):
            if acts.size == self._model.tile_bytes * count + 64:
                return self._free.pop(number)
        return self._tiles(count)

    def _part(self, at: int, count: int) -> Array:
        return self._params[at : at + 4 * count].view(np.float32)

    def _natural(self, tensor: Tensor, at: int) -> Array:
        """A tensor in natural order, from the copies and slots at a place."""
        whole = self._part(at, tensor.copies * tensor.size)
        return whole[tensor.places].reshape(tensor.shape)

    def _put(self, tensor: Tensor, at: int, values: NDArray[Any]) -> None:
        whole = self._part(at, tensor.copies * tensor.size)
        whole[:] = 0.0
        with np.errstate(over="ignore"):
            whole[tensor.places] = values.reshape(-1)

    def _stored_gradients(self) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name, tensor in self._model.tensors.items():
            if tensor.trained:
                found[name] = self._part(tensor.gradient, tensor.size)[tensor.slot].reshape(tensor.shape)
        return found

    def _refresh(self) -> None:
        """Renew the copies of weights that kernels read."""
        for tensor in self._model.tensors.values():
            if tensor.copies > 1:
                copies = self._part(tensor.master, tensor.copies * tensor.size).reshape(tensor.copies, tensor.size)
                total = np.zeros(tensor.size, np.float32)
                for copy in copies:
                    total += copy
                self._part(tensor.working, tensor.size)[:] = total
        for copy in self._model.copies:
            index = self._params[copy.index : copy.index + 4 * copy.size].view(np.uint32)
            source = self._params[copy.source :].view(np.float32)
            self._part(copy.target, copy.size)[:] = source[index]
        if self._model.sheets:
            self._run(Variant(forward=False, renew=True))

    def _moments(self) -> tuple[str, ...]:
        return self.optimizer.moments if self.optimizer else ()

    def _needs_optimizer(self) -> Optimizer:
        self._needs_loss()
        if self.optimizer is None:
            raise error("E0621", "there is no optimizer to make a step with", help="pass optimizer = Sgd(lr = 0.1)")
        return self.optimizer

    def _needs_loss(self) -> None:
        if self.loss == "none":
            raise error("E0620", "the trainer has no loss", help="pass loss = 'cross-entropy' or 'mse'")
