"""The cells of a sweep: what each trains, and what came of it, one JSON file a cell."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from pathc import __version__
from pathc.driver import load
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph
from pathc.ir.weights import expected_tensors
from pathc.support.diagnostics import Diagnostic, PathcError, UsageError
from pathc.support.files import read_bounded, write_atomically
from pathc.train.data import load_data
from pathc.train.job import Job, run, with_sign
from pathc.train.provenance import model_digest
from pathc.train.settings import Settings

Record = dict[str, Any]
MOST_CELLS = 100_000
_MOST_BYTES = 1 << 26
_FIELDS = {"model", "sets", "seed", "paths", "weights", "history"}
"""What the record of a cell holds if it went well."""
_UNKNOWN = "E0228"
"""What the language says of an override that names no `let`."""


@dataclass(frozen=True)
class Cell:
    """One training of a grid: everything is spelled by texts and numbers, so that it can travel to other processes."""

    model: str
    overrides: tuple[tuple[str, str], ...]
    seeds: tuple[tuple[str, str], ...]
    settings: Settings
    data: str
    scale: float
    sign: str
    folder: str

    @property
    def label(self) -> str:
        """The cell in a few words."""
        sets = "".join(f" {name}={value}" for name, value in self.overrides)
        return f"{Path(self.model).stem}{sets} seed={self.settings.seed}"

    def graph(self) -> Graph:
        """The net; raises as `pathc.load`."""
        return with_sign(load(self.model, dict(self.overrides + self.seeds) or None), self.sign)

    def key(self, digest: str) -> str:
        """What the result depends on, in 16 letters: the net, the data, the settings, the version."""
        parts = (model_digest(self.graph()), digest, self.settings.as_json(), __version__)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def grid(
    models: Sequence[str],
    sets: Mapping[str, Sequence[str]],
    settings: Sequence[Settings],
    *,
    data: str,
    scale: float = 0.0,
    sign: str = "",
    folder: str = "",
    seed_into: str = "",
) -> list[Cell]:
    """All cells; a model is set only what it has a `let` for, and equal cells are one.

    `seed_into` names a `let` that receives the seed of the cell, so that nets with random paths are drawn anew.

    Raises PathcError with the mistakes of a model, UsageError E0914 for a `let` that no model has, or too many cells.
    """
    cells: dict[Cell, None] = {}
    unused, undrawn = set(sets), bool(seed_into)
    for model in models:
        known = {name: values for name, values in sets.items() if _has(model, name, values[0])}
        unused -= set(known)
        drawn = bool(seed_into) and _has(model, seed_into, "0")
        undrawn = undrawn and not drawn
        count = math.prod(len(v) for v in known.values()) * len(settings)
        if len(cells) + count > MOST_CELLS:
            text = f"the grid has more than {MOST_CELLS} cells"
            raise UsageError(Diagnostic("E0914", text, help="sweep over fewer values at a time"))
        for values in itertools.product(*known.values()):
            overrides = tuple(zip(known, values, strict=True))
            for one in settings:
                seeds = ((seed_into, str(one.seed)),) if drawn else ()
                cells[Cell(model, overrides, seeds, one, data, scale, sign, folder)] = None
    if undrawn:
        unused.add(seed_into)
    if unused:
        text = f"no model of the sweep has a `let` called `{min(unused)}`"
        raise UsageError(Diagnostic("E0914", text, help="name one that a .path file defines"))
    return list(cells)


def _has(model: str, name: str, value: str) -> bool:
    """Whether a model has a `let` of that name; other mistakes are raised."""
    try:
        load(model, {name: value})
    except PathcError as mistake:
        if any(d.code in (_UNKNOWN, "E0803") for d in mistake.diagnostics):
            load(model)
            return False
        raise
    return True


def finished(path: Path, key: str) -> Record | None:
    """The result in a cell's file, if it is of this key and went well."""
    try:
        record: object = json.loads(read_bounded(path, _MOST_BYTES))
    except (PathcError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    found = cast("Record", record)
    return found if found.get("key") == key and found.keys() >= _FIELDS and found["history"] else None


def train_cell(cell: Cell, key: str) -> Record:
    """Train one cell and write its file; mistakes are noted in it, so that the others go on."""
    base: Record = {"key": key, "model": cell.model, "sets": dict(cell.overrides), "seed": cell.settings.seed}
    try:
        graph = cell.graph()
        result = run(Job(graph, load_data(cell.data, cell.scale), cell.settings))
    except PathcError as mistake:
        record = {**base, "errors": [json.loads(d.as_json()) for d in mistake.diagnostics]}
    else:
        record = {
            **base,
            "paths": paths_of(graph),
            "weights": sum(math.prod(shape) for shape in expected_tensors(graph).values()),
            "settings": asdict(cell.settings),
            "history": result.history,
            "origin": result.origin,
        }
    if cell.folder:
        write_atomically(file_of(cell, key), json.dumps(record, indent=1) + "\n")
    return record


def file_of(cell: Cell, key: str) -> Path:
    """Where the result of a cell lies."""
    return Path(cell.folder) / "cells" / f"{Path(cell.model).stem}-{key}.json"


def paths_of(graph: Graph) -> int:
    """Paths of a net, all lines together; 0 for a dense one."""
    return sum(resolve(line, graph).count for line in graph.lines if line.kind == "paths" and not line.tied)
