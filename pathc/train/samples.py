"""A data set made ready for one net: float32 rows, checked labels, the part held out for validation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.graph import Graph
from pathc.ir.inputs import input_shape
from pathc.ir.interp.junctions import real_read_size
from pathc.ir.sequences import fixed_steps, takes_sequences
from pathc.support.diagnostics import Diagnostic, PathcError, Severity, error
from pathc.support.files import memory_limit
from pathc.train.data import Dataset, missing

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]
LABELS, INPUT = "labels", "input"
"""What a net can be trained to give: the class of a sample, or the sample itself."""
_SHOWN = 10
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples [samples, units] in float32; `labels` [samples] are None where the samples are their own targets.

    Of sequences both have steps behind the samples, or labels alone where the net makes the steps. With `characters`
    the rows are numbers of characters, uint8 [samples, steps], and stand for as many units, of which the one of that
    number is 1.
    """

    rows: Rows | NDArray[np.uint8]
    labels: Labels | None
    characters: int = 0
    units: int = 0

    @property
    def steps(self) -> int:
        """Steps of a sample that are judged, 1 for samples without steps."""
        return 1 if self.labels is None or self.labels.ndim == 1 else self.labels.shape[1]

    @property
    def sequences(self) -> bool:
        """Whether a sample is a sequence."""
        return self.rows.ndim == 3 or self.characters > 0 or (self.labels is not None and self.labels.ndim == 2)

    def inputs(self, chosen: NDArray[np.int64] | slice) -> Rows:
        """Some samples as the net takes them."""
        if self.characters:
            numbers: NDArray[np.int64] = self.rows[chosen].astype(np.int64)
            return np.eye(self.units, dtype=np.float32)[numbers]
        rows: Rows = self.rows[chosen].astype(np.float32, copy=False)
        return rows

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, chosen: NDArray[np.int64]) -> Samples:
        """A copy of some of the samples."""
        labels = None if self.labels is None else self.labels[chosen]
        return replace(self, rows=self.rows[chosen], labels=labels)

    def target(self, start: int, stop: int) -> Labels | Rows:
        """Labels or rows of a range."""
        return self.inputs(slice(start, stop)) if self.labels is None else self.labels[start:stop]


@dataclass(frozen=True, eq=False)
class Split:
    """What a net is trained with, what it is watched with (empty unless asked for), and what it is tested with."""

    train: Samples
    validation: Samples | None
    test: Samples | None
    notes: tuple[Diagnostic, ...] = ()


def split_for(graph: Graph, dataset: Dataset, goal: str = LABELS, validation: float = 0.0, seed: int = 0) -> Split:
    """The samples of a data set as a graph takes them.

    A share `validation` of the training samples, drawn with `seed`, is held out. Raises PathcError: E0902 to E0905,
    E0502 if the samples do not fit into the memory.
    """
    train = _samples(graph, dataset, "train", goal)
    test = _samples(graph, dataset, "test", goal) if "x_test" in dataset.arrays else None
    notes = [] if train.labels is None else _empty_classes(train.labels, None if test is None else test.labels)
    if test is None:
        text, help = f"the data `{dataset.name}` has no test samples", "add x_test and y_test"
        notes.append(Diagnostic("W0903", text, help=help, severity=Severity.NOTE))
    held = round(len(train) * validation)
    if validation and not 0 < held < len(train):
        text = f"a share of {validation:g} of {len(train)} samples leaves nothing to train or nothing to watch"
        raise error("E0909", text, help="use --validation 0.1")
    if not held:
        return Split(train, None, test, tuple(notes))
    order = np.random.Generator(np.random.Philox(key=[seed, 1 << 63])).permutation(len(train))
    kept, watched = np.sort(order[held:]), np.sort(order[:held])
    return Split(train.part(kept), train.part(watched), test, tuple(notes))


def _samples(graph: Graph, dataset: Dataset, part: str, goal: str) -> Samples:
    name = f"x_{part}"
    stored = dataset.arrays[name]
    units = math.prod(input_shape(graph))
    if takes_sequences(graph):
        return _sequences(graph, dataset, part, goal)
    if dataset.characters:
        text = f"`{dataset.name}` is a text, and no station of `{graph.name}` is recurrent"
        raise error("E0903", text, help="give a layer a cell: `layer h[64] : bias | gru`")
    what = f"`{name}` of `{dataset.name}`"
    _filled(stored, what)
    if stored.ndim < 2 or math.prod(stored.shape[1:]) != units:
        text = f"{what} has shape {list(stored.shape)}, the net takes {units} units a sample"
        raise error("E0903", text, help="store [samples, units] or [samples, height, width]")
    if 4 * stored.size > memory_limit():
        raise error("E0502", f"{what} needs {4 * stored.size} bytes as float32, more than the memory can take")
    rows = _converted(stored.reshape(len(stored), units), dataset.divisor(name), what)
    steps = fixed_steps(graph)
    if goal == INPUT and steps:
        text = "a net with `steps` learns a label for every step, not its samples"
        raise error("E0909", text, help="leave out --goal")
    if goal == INPUT:
        return _repeated(graph, rows)
    if f"y_{part}" not in dataset.arrays:
        raise missing(dataset, f"y_{part}")
    return Samples(rows, _labels(graph, dataset, f"y_{part}", (len(rows), steps) if steps else (len(rows),)))


def _sequences(graph: Graph, dataset: Dataset, part: str, goal: str) -> Samples:
    """Samples for a net with cells: a text, or sequences [samples, steps, units] with a label for every step."""
    name, units = f"x_{part}", math.prod(input_shape(graph))
    stored = dataset.arrays[name]
    what = f"`{name}` of `{dataset.name}`"
    if dataset.characters:
        if goal == INPUT:
            raise error("E0909", "a text is learned by the next character, not by itself", help="leave out --goal")
        if dataset.characters > units:
            text = f"`{dataset.name}` has {dataset.characters} different characters, the net takes {units} units"
            raise error("E0903", text, help=f"give the input {dataset.characters} units, and the output as many")
        labels = _labels(graph, dataset, f"y_{part}", stored.shape)
        return Samples(np.ascontiguousarray(stored), labels, dataset.characters, units)
    _filled(stored, what)
    if stored.ndim < 3 or math.prod(stored.shape[2:]) != units:
        text = f"{what} has shape {list(stored.shape)}, the net takes sequences of {units} units"
        raise error("E0903", text, help="store [samples, steps, units], or train with a .txt file")
    if 4 * stored.size > memory_limit():
        raise error("E0502", f"{what} needs {4 * stored.size} bytes as float32, more than the memory can take")
    rows = _converted(stored.reshape(*stored.shape[:2], units), dataset.divisor(name), what)
    if goal == INPUT:
        return _repeated(graph, rows)
    if f"y_{part}" not in dataset.arrays:
        raise missing(dataset, f"y_{part}")
    return Samples(rows, _labels(graph, dataset, f"y_{part}", stored.shape[:2]))


def _repeated(graph: Graph, rows: Rows) -> Samples:
    """Samples that are their own targets; E0909 unless the net gives as many values as it takes."""
    given, taken = sum(map(real_read_size, graph.outputs)), rows.shape[-1]
    if given != taken:
        text = f"`{graph.name}` takes {taken} values and gives {given}, so it cannot learn to repeat its input"
        raise error("E0909", text, help="give the outputs as many units, or leave out --goal")
    return Samples(rows, None)


def _converted(stored: NDArray[Any], divisor: float, what: str) -> Rows:
    if stored.dtype.kind not in "fiub":
        raise error("E0903", f"{what} holds values of type {stored.dtype}", help="store floats or integers")
    rows = np.empty(stored.shape, np.float32)
    factor = np.float32(1.0 / divisor)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        with np.errstate(over="ignore", invalid="ignore"):
            chunk[...] = stored[start : start + _CHUNK]
        if divisor != 1.0:
            chunk *= factor
        if stored.dtype.kind == "f" and not np.isfinite(chunk).all():
            at = np.argwhere(~np.isfinite(chunk))[0] + (start, *[0] * (rows.ndim - 1))
            where = f"{_place(at[:-1])}, unit {at[-1]}"
            text = f"{what} holds {float(stored[tuple(at)]):g} in {where}"
            raise error("E0904", text, help="clean the data; values must be finite as float32")
    return rows


def _labels(graph: Graph, dataset: Dataset, name: str, shape: tuple[int, ...]) -> Labels:
    stored = dataset.arrays[name]
    what, units = f"`{name}` of `{dataset.name}`", sum(station.real_units for station in graph.outputs)
    if stored.shape not in (shape, (*shape, 1)):
        text = f"{what} has shape {list(stored.shape)} beside {shape[0]} samples"
        each = "sample" if len(shape) == 1 else "step of every sample"
        raise error("E0903", text, help=f"store one label per {each}")
    samples = math.prod(shape)
    flat = stored.reshape(samples)
    if flat.dtype.kind not in "iu":
        raise error("E0905", f"{what} holds values of type {flat.dtype}", help="labels are integers from 0")
    wrong = np.flatnonzero((flat < 0) | (flat >= units))
    if wrong.size:
        first = int(wrong[0])
        where = _place(np.array(np.unravel_index(first, shape)))
        text = f"{what} holds the label {int(flat[first])} in {where}, the net has the classes 0 to {units - 1}"
        found = Diagnostic("E0905", text, help="number the classes from 0, or give the output station more units")
        raise PathcError(found.note(f"{wrong.size} of {samples} labels are out of range"))
    return np.ascontiguousarray(flat, np.int64).reshape(shape)


def _place(at: NDArray[np.intp]) -> str:
    """A sample, or a step of one, in words."""
    return ", ".join(f"{axis} {index}" for axis, index in zip(("sample", "step"), at, strict=False))


def _filled(stored: NDArray[Any], what: str) -> None:
    """Raise E0903 for arrays that hold nothing."""
    if not stored.size:
        text = f"{what} has shape {list(stored.shape)}: it holds no value"
        raise error("E0903", text, help="store at least one sample, and leave out `x_test` where nothing is tested")


def _empty_classes(train: Labels, test: Labels | None) -> list[Diagnostic]:
    """W0901 if a class up to the largest label that occurs anywhere has no sample to learn from."""
    highest = max(int(train.max()), int(test.max()) if test is not None and len(test) else 0)
    empty = np.flatnonzero(np.bincount(train.reshape(-1), minlength=highest + 1) == 0)
    if not empty.size:
        return []
    listed = ", ".join(map(str, empty[:_SHOWN])) + (f" and {empty.size - _SHOWN} more" if empty.size > _SHOWN else "")
    text = f"no training sample has the label {listed}"
    help = "the net cannot learn what it never sees; add samples, or number the classes without gaps"
    return [Diagnostic("W0901", text, help=help, severity=Severity.WARNING)]
