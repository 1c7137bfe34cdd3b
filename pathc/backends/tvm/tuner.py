"""Split factors chosen by measuring: candidates ranked by a cost model, times of every kernel, a file of what was best.

The file is `tuned.json` beside the object cache; entries are keyed by plan and device, so that whatever
compiles the same plan for the same device again finds them.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, cast

from pathc.backends.tvm import gpu_tiles
from pathc.backends.tvm.plan import NetPlan, Op
from pathc.backends.tvm.schedule import Tile, Tiles, default_tile
from pathc.support.diagnostics import Diagnostic, PathcError, Severity
from pathc.support.files import read_bounded, write_atomically

Measure = Callable[[Tiles], Mapping[str, float]]
"""Seconds of every operation by name, with these tiles."""
_VERSION = 1
_LIMIT = 16 << 20
_REGISTERS = 256
"""Numbers that the vector registers of a processor hold, with room for what is multiplied."""
_STEP = 0.01
_NAME = re.compile(r"k\d+")


def cost(tile: Tile) -> float:
    """Loads for every multiply-add: a weight serves `lanes` samples, a value `rows` destinations; spills cost."""
    sums = tile.rows * tile.lanes
    return (1 / tile.rows + 1 / tile.lanes) * max(1.0, sums / _REGISTERS)


def candidates(plan: NetPlan, most: int = 8) -> list[Tile]:
    """The tiles that the cost model ranks first, at most so many."""
    lanes = [n for n in (1, 4, 8, 16, 32, 64) if plan.lanes % n == 0]
    return sorted((Tile(rows, wide) for rows, wide in product((1, 2, 4, 8, 16), lanes)), key=cost)[:most]


def fitting(tile: Tile, op: Op) -> Tile | None:
    """The tile if it divides the operation evenly."""
    rows = getattr(op, "fan_out", 1)
    return tile if rows % tile.rows == 0 else None


def tune(
    plan: NetPlan, measure: Measure, say: Callable[[str], object] = lambda _: None, gpu: bool = False
) -> dict[str, Tile]:
    """The best tile of every operation, by measuring; those that make nothing faster are left out.

    On a processor every candidate is tried on its own. On a GPU every change is tried on the best so far.
    """
    best, found = dict(measure({})), dict[str, Tile]()
    default = {op.name: default_tile(op, plan, gpu) for op in plan.ops}
    for tried in gpu_tiles.changes() if gpu else candidates(plan):
        current = default | found
        fit = {op.name: _fit(tried, current[op.name], op, plan) for op in plan.ops}
        tiles = {name: tile for name, tile in fit.items() if tile and tile != current[name]}
        if not tiles:
            continue
        say(f"tile {tried}")
        seconds = measure(found | tiles)
        faster = {name: tile for name, tile in tiles.items() if seconds[name] < (1 - _STEP) * best[name]}
        found |= faster
        best |= {name: seconds[name] for name in (seconds if plan.fused and faster else faster)}
    return {name: tile for name, tile in found.items() if tile != default[name]}


def _fit(tried: Tile | gpu_tiles.Change, current: Tile, op: Op, plan: NetPlan) -> Tile | None:
    return fitting(tried, op) if isinstance(tried, Tile) else gpu_tiles.changed(tried, current, op, plan)


def fastest(call: Callable[[], object], least: float = 0.01) -> float:
    """The shortest of several calls in seconds; the first, which warms up, does not count."""
    call()
    best, end = float("inf"), time.perf_counter() + least
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def key_of(plan: NetPlan, device: str) -> str:
    """What an entry is found by."""
    return hashlib.sha256(f"{device}\n{plan}".encode()).hexdigest()


def database() -> Path | None:
    """The file, or None where the cache is switched off."""
    from pathc.backends.llvm.cache import open_cache

    folder = open_cache().folder
    return folder.parent / "tuned.json" if folder else None


def recall(plan: NetPlan, device: str, gpu: bool = False) -> dict[str, Tile]:
    """Tiles that were found for a plan on a device; nothing if there are none, or if the file is damaged."""
    return _entry(plan, device, gpu) or {}


def damage(plan: NetPlan, device: str, gpu: bool = False) -> tuple[Diagnostic, ...]:
    """The note W0682 if the file cannot be used, or what it has for this plan and device."""
    path = database()
    if path is None or not path.exists() or (_read() is not None and _entry(plan, device, gpu) is not None):
        return ()
    text = f"`{path}` is damaged or of another version, and is not used"
    return (Diagnostic("W0682", text, help="tune again, or delete it", severity=Severity.NOTE),)


def _entry(plan: NetPlan, device: str, gpu: bool) -> dict[str, Tile] | None:
    """What the file has for a plan and device; None if that makes no sense."""
    entry = (_read() or {}).get(key_of(plan, device), {})
    try:
        tiles = {name: Tile(**{key: int(value) for key, value in fields.items()}) for name, fields in entry.items()}
    except (TypeError, ValueError, AttributeError):
        return None
    names = {op.name: op for op in plan.ops}
    whole = all(
        _NAME.fullmatch(name) and name in names and _sound(tile, names[name], plan, gpu) for name, tile in tiles.items()
    )
    return tiles if whole else None


def remember(plan: NetPlan, device: str, tiles: Mapping[str, Tile]) -> bool:
    """Keep tiles for later; False where the cache is switched off."""
    path = database()
    if path is None:
        return False
    entries = (_read() or {}) | {key_of(plan, device): {name: asdict(tile) for name, tile in tiles.items()}}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"version": _VERSION, "entries": entries}, indent=1) + "\n")
    return True


def _sound(tile: Tile, op: Op, plan: NetPlan, gpu: bool) -> bool:
    if gpu:
        return gpu_tiles.sound(tile, op, plan)
    sizes: Iterable[int] = (tile.rows, tile.lanes, tile.columns, tile.threads)
    return all(0 < size <= 1024 for size in sizes) and plan.lanes % tile.lanes == 0 and fitting(tile, op) is not None


def _read() -> dict[str, dict[str, Any]] | None:
    """All entries; None for a file that is none of these."""
    path = database()
    if path is None or not path.exists():
        return {}
    try:
        record: dict[str, Any] = json.loads(read_bounded(path, _LIMIT))
        if record["version"] == _VERSION and isinstance(record["entries"], dict):
            return cast("dict[str, dict[str, Any]]", record["entries"])
    except (PathcError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None
