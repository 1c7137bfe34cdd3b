"""The entry of a program: all its phases, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.llvm.emit import I64, Function
from pathc.backends.llvm.training.tasks import Variant, given

ENTRY = "pathc_train"


def write_entry(phases: Sequence[tuple[str, int]], variant: Variant, labels: int) -> Function:
    """The function ENTRY: checks the labels, of which there are `labels`, runs all tasks, adds up losses."""
    f = Function(ENTRY, (("ptr", "context"),), internal=False)
    pool, tiles, result, sums = (given(f, n) for n in ("pool", "tiles", "result", "sums"))
    if variant.loss == "cross-entropy":
        _check_labels(f, result, labels)
    for name, count in phases:
        arguments = [("ptr", pool), ("ptr", f"@{name}"), ("ptr", "%context"), (I64, str(count) if count else tiles)]
        f.call("void", "pathc_pool_run", arguments, declare=False)
    if variant.loss != "none":
        with f.loop(tiles, [("double", "0.0"), ("double", "0.0")]) as loop:
            at = f.offset(sums, f.op("shl", I64, loop.index, "1"), "double")
            parts = [f.load("double", f.offset(at, k, "double"), 8) for k in range(2)]
            loop.following = [f.op("fadd", "double", a, b) for a, b in zip(loop.carried, parts, strict=True)]
        for k, value in enumerate(loop.results):
            f.store("double", value, f.offset(result, k, "double"), 8)
    return f


def _check_labels(f: Function, result: str, units: int) -> None:
    """Write the count of labels that name no output, the third result; if there are any, nothing else is done."""
    labels, count = (given(f, n) for n in ("target", "count"))
    with f.loop(count, [(I64, "0")]) as loop:
        label = f.load(I64, f.offset(labels, loop.index, I64), 8)
        wrong = f.assign(f"zext i1 {f.assign(f'icmp uge i64 {label}, {units}')} to i64")
        loop.following = [f.op("add", I64, loop.carried[0], wrong)]
    total = f.assign(f"uitofp i64 {loop.results[0]} to double")
    f.store("double", total, f.offset(result, 2, "double"), 8)
    bad = f.assign(f"icmp ne i64 {loop.results[0]}, 0")
    f.line(f"br i1 {bad}, label %refused, label %go")
    f.label("refused")
    f.line("ret void")
    f.label("go")
