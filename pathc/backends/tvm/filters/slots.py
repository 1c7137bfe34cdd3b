"""Buffers that are needed at different times in the same memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pathc.backends.tvm.filters.plan import Blend, End, Op, Planes, reads


def shared(ops: tuple[Op, ...], arrays: Mapping[str, int]) -> tuple[tuple[Op, ...], dict[str, int]]:
    """The same operations with fewer buffers, and the floats of each.

    A buffer that is read for the last time makes room for the next one: the smallest that suffices, or the largest,
    which grows. Arrays that no operation reads or writes are left out; those whose name does not begin with `planes`
    stay as they are.
    """
    last = {planes.array: number for number, op in enumerate(ops) for planes in (*reads(op), op.dst)}
    given: dict[str, str] = {}
    sizes = {name: size for name, size in arrays.items() if not name.startswith("planes")}
    free: list[str] = []
    moved: list[Op] = []
    for number, op in enumerate(ops):
        if op.dst.array in arrays and op.dst.array not in given and op.dst.array not in sizes:
            size = arrays[op.dst.array]
            enough = [name for name in free if sizes[name] >= size]
            chosen = (
                min(enough, key=lambda name: sizes[name]) if enough else max(free, key=sizes.__getitem__, default="")
            )
            if chosen:
                free.remove(chosen)
            else:
                chosen = f"planes{sum(name.startswith('planes') for name in sizes)}"
            given[op.dst.array] = chosen
            sizes[chosen] = max(sizes.get(chosen, 0), size)
        moved.append(_renamed(op, given))
        free += [given[name] for name, end in last.items() if end == number and name in given]
    return tuple(moved), sizes


def _renamed(op: Op, names: Mapping[str, str]) -> Op:
    def renamed(planes: Planes) -> Planes:
        return replace(planes, array=names.get(planes.array, planes.array))

    terms = tuple((renamed(planes), scale) for planes, scale in op.end.terms)
    end = End(terms, op.end.functions, op.end.places)
    if isinstance(op, Blend):
        return replace(op, dst=renamed(op.dst), end=end)
    return replace(op, src=renamed(op.src), dst=renamed(op.dst), end=end)
