"""Split factors chosen by measuring: what is tried, times of every kernel, a file of what was best.

The file is `tuned.json` beside the object cache; entries are keyed by plan and device, so that whatever
compiles the same plan for the same device again finds them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

from pathc.backends.tvm import facade
from pathc.backends.tvm.compiled import AnyTile, Lowered, Tiles
from pathc.backends.tvm.knobs import Knob, knobs_of
from pathc.backends.tvm.plan import NetPlan
from pathc.backends.tvm.recurrent.plan import SequencePlan
from pathc.support.diagnostics import Diagnostic, PathcError, Severity
from pathc.support.files import read_bounded, write_atomically

Measure = Callable[[Tiles], Mapping[str, float]]
"""Seconds of every kernel by name, with these tiles."""
AnyPlan = NetPlan | SequencePlan
STEPS = 64
"""Steps of the sequences that kernels are measured with."""
_VERSION = 1
_LIMIT = 16 << 20
_STEP = 0.01


def tune(knobs: Sequence[Knob], measure: Measure, say: Callable[[str], object] = lambda _: None) -> dict[str, AnyTile]:
    """The best tile of every operation, by measuring; those that make nothing faster are left out.

    What the operations try first is measured together, then what they try next, each on the best of its own so far;
    kernels are judged one by one, with all the operations that they compute.
    """
    best, found = dict(measure({})), dict[str, AnyTile]()
    for tries in zip_longest(*(knob.tries for knob in knobs)):
        tiles: dict[str, AnyTile] = {}
        for knob, tried in zip(knobs, tries, strict=True):
            current = found.get(knob.name, knob.default)
            tile = tried(current) if tried else None
            if tile is not None and tile != current:
                tiles[knob.name] = tile
        if not tiles:
            continue
        say("; ".join(f"{name}: {tile}" for name, tile in tiles.items()))
        seconds = measure(found | tiles)
        changed = {knob.kernel for knob in knobs if knob.name in tiles}
        faster = {kernel: seconds[kernel] for kernel in changed if seconds[kernel] < (1 - _STEP) * best[kernel]}
        found |= {knob.name: tiles[knob.name] for knob in knobs if knob.name in tiles and knob.kernel in faster}
        best |= faster
    return {knob.name: found[knob.name] for knob in knobs if found.get(knob.name, knob.default) != knob.default}


def tuned(
    lowered: Lowered, measure: Measure, devices: Sequence[str], limit: int = 0
) -> tuple[Lowered, tuple[Diagnostic, ...]]:
    """The plan with the split factors that were fastest, which are kept for `devices`, and the note W0671 or W0683.

    `limit` are the bytes of shared memory of a block of threads, 0 for any number.
    """
    knobs = knobs_of(lowered, limit)
    if not knobs:
        text = f"`{lowered.plan.name}` has no operation with split factors to choose, so nothing was measured"
        return lowered, (Diagnostic("W0683", text, help="leave out tune=true", severity=Severity.NOTE),)
    found = tune(knobs, measure)
    for device in devices:
        remember(lowered.plan, device, found)
    return replace(lowered, tiles=found), _chosen(lowered, found)


def recalled(lowered: Lowered, devices: Sequence[str], limit: int = 0) -> tuple[Lowered, tuple[Diagnostic, ...]]:
    """The plan with what was found for the first of the devices that has any, and the notes W0671 and W0682."""
    knobs = knobs_of(lowered, limit)
    notes = damage(lowered.plan, knobs, devices[0])
    for device in devices:
        if tiles := recall(lowered.plan, knobs, device):
            return replace(lowered, tiles=tiles), (*notes, *_chosen(lowered, tiles))
    return lowered, notes


def _chosen(lowered: Lowered, tiles: Tiles) -> tuple[Diagnostic, ...]:
    if not tiles:
        return ()
    listed = tuple(f"{name}: {tile}" for name, tile in tiles.items())
    where = "such a GPU" if lowered.gpu else "this processor"
    text = f"split factors are those that a tuner found for this plan on {where}"
    return (Diagnostic("W0671", text, notes=listed, severity=Severity.NOTE),)


def fastest(call: Callable[[], object], least: float = 0.01) -> float:
    """The shortest of several calls in seconds; the first, which warms up, does not count."""
    call()
    best, end = float("inf"), time.perf_counter() + least
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def key_of(plan: AnyPlan, device: str) -> str:
    """What an entry is found by."""
    return hashlib.sha256(f"{device}\n{plan}".encode()).hexdigest()


def processor(cpu: str) -> str:
    """The device whose entries are those of a processor as LLVM calls it; of this one if that is empty."""
    return f"tvm-llvm {cpu or facade.host_cpu()}"


def database() -> Path | None:
    """The file, or None where the cache is switched off."""
    from pathc.backends.llvm.cache import open_cache

    folder = open_cache().folder
    return folder.parent / "tuned.json" if folder else None


def recall(plan: AnyPlan, knobs: Sequence[Knob], device: str) -> dict[str, AnyTile]:
    """Tiles that were found for a plan on a device; nothing if there are none, or if the file is damaged."""
    return _entry(plan, knobs, device) or {}


def damage(plan: AnyPlan, knobs: Sequence[Knob], device: str) -> tuple[Diagnostic, ...]:
    """The note W0682 if the file cannot be used, or what it has for this plan and device."""
    path = database()
    if path is None or not path.exists() or (_read() is not None and _entry(plan, knobs, device) is not None):
        return ()
    text = f"`{path}` is damaged or of another version, and is not used"
    return (Diagnostic("W0682", text, help="tune again, or delete it", severity=Severity.NOTE),)


def _entry(plan: AnyPlan, knobs: Sequence[Knob], device: str) -> dict[str, AnyTile] | None:
    """What the file has for a plan and device; None if that makes no sense."""
    known, tiles = {knob.name: knob for knob in knobs}, dict[str, AnyTile]()
    try:
        for name, fields in (_read() or {}).get(key_of(plan, device), {}).items():
            tile = known[name].tile(fields)
            if tile is None:
                return None
            tiles[name] = tile
    except (AttributeError, KeyError):
        return None
    return tiles


def remember(plan: AnyPlan, device: str, tiles: Tiles) -> bool:
    """Keep tiles for later; False where the cache is switched off."""
    path = database()
    if path is None:
        return False
    entries = (_read() or {}) | {key_of(plan, device): {name: asdict(tile) for name, tile in tiles.items()}}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"version": _VERSION, "entries": entries}, indent=1) + "\n")
    return True


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
