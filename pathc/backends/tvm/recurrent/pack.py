"""Hidden-to-hidden weights in the order in which a time loop reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.tvm.pack import Packed, pack
from pathc.backends.tvm.plan import NetPlan
from pathc.backends.tvm.recurrent.plan import CellPlan, Feed, SequencePlan
from pathc.ir.graph import Graph
from pathc.ir.recurrence import Index, structure_edges
from pathc.ir.weights import tensor_values


def parameters_of(plan: NetPlan | SequencePlan, graph: Graph, weights: Mapping[str, NDArray[Any]]) -> Packed:
    """Arrays by the name of the parameter for a net with cells or without."""
    if isinstance(plan, NetPlan):
        return pack(plan, graph, weights)
    found: Packed = {}
    for piece in plan.pieces:
        found |= pack(piece.plan, piece.graph, piece.weights) if isinstance(piece, Feed) else pack_cell(piece, weights)
    return found


def pack_cell(plan: CellPlan, weights: Mapping[str, NDArray[Any]]) -> Packed:
    """Weights float32 [directions, width, gates, units] (`p1_w`), and the table of a cell that has one.

    They are [directions, gates, units] where units see themselves, [directions, edges, gates] in the form csr.
    """
    cell, name = plan.cell, plan.name
    if not cell.recurrent_gates:
        return {}
    into, seen = structure_edges(cell.recur, cell.hidden, cell.loc)
    values = np.stack(
        [
            [
                tensor_values(weights, cell.tensor(d, gate)).reshape(-1).astype(np.float32)
                for gate in cell.recurrent_gates
            ]
            for d in range(cell.directions)
        ]
    )
    order = np.lexsort((seen, into))
    into, seen, values = into[order], seen[order], values[:, :, order]
    if plan.form == "own":
        return {f"{name}_w": np.ascontiguousarray(values)}
    starts = np.searchsorted(into, np.arange(cell.hidden + 1))
    if plan.form == "csr":
        table = {f"{name}_i": seen.astype(np.int32), f"{name}_p": starts.astype(np.int32)}
        return {f"{name}_w": np.ascontiguousarray(values.transpose(0, 2, 1)), **table}
    slot = _slots(plan, into, seen, starts)
    packed = np.zeros((cell.directions, plan.width, values.shape[1], cell.hidden), np.float32)
    packed[:, slot, :, into] = values.transpose(2, 0, 1)
    if plan.form != "ell":
        return {f"{name}_w": packed}
    table = np.full((plan.width, cell.hidden), -1, np.int32)
    table[slot, into] = seen
    return {f"{name}_w": packed, f"{name}_i": table}


def _slots(plan: CellPlan, into: Index, seen: Index, starts: Index) -> Index:
    """Which of the sources of a unit each edge is."""
    match plan.form:
        case "band":
            return seen - into + plan.reach
        case "ring":
            return (seen - into + plan.reach) % plan.cell.hidden
        case "dense":
            return seen % plan.width
        case _:
            return np.arange(len(into)) - starts[into]
