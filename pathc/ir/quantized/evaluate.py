"""Forward through a quantized graph, in integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pathc.ir.inputs import output_shape
from pathc.ir.interp.junctions import Values, real_read_size, real_size
from pathc.ir.interp.network import Inputs, Layout, functions_of, input_rows
from pathc.ir.quantized.network import IntegerNetwork, IntegerStation
from pathc.ir.quantized.rounding import Integers, round_to_format
from pathc.support.diagnostics import error


@dataclass(frozen=True)
class IntegerTrace:
    """Everything an integer forward pass computed, int64 [batch, units], silent units included (and zero if read).

    `sums[s]` is what station s has accumulated, bias included; `values[s]` is what is read from it: integers of its
    format, or the sums of an output that has none. Nets with cells have sequences: rows are [batch * steps, units],
    and `state` holds the last states of cells, [batch, hidden] by station and direction.
    """

    sums: Mapping[str, Integers]
    values: Mapping[str, Integers]
    state: Mapping[str, tuple[Integers, ...]] = field(default_factory=dict[str, tuple[Integers, ...]])


def quantize_inputs(network: IntegerNetwork, inputs: Inputs) -> tuple[dict[str, Integers], Layout]:
    """Inputs as integers of their stations' formats, [batch, units] or [batch * steps, units], and how they lay.

    Rounds to nearest, ties to even, and clamps. Raises PathcError as `pathc.ir.interp.forward`; E1308 for NaN.
    """
    rows, layout = input_rows(network.graph, inputs)
    return {name: _rounded(network.station(name), row) for name, row in rows.items()}, layout


def _rounded(station: IntegerStation, row: Values) -> Integers:
    if np.isnan(row).any():
        raise error("E1308", f"the input of `{station.station.name}` holds NaN", station.station.loc)
    if station.format is None:
        raise error("E1302", f"station `{station.station.name}` has no `scale`", station.station.loc)
    return round_to_format(row / station.scale, station.format.low, station.format.high)


def evaluate_integers(
    network: IntegerNetwork,
    rows: Mapping[str, Integers],
    steps: int = 1,
    state: Mapping[str, Sequence[Integers]] | None = None,
) -> IntegerTrace:
    """All sums and values for integer inputs [batch, units], of sequences [batch * steps, units], by input station.

    Cells named in `state` start from there, all others from zeros.
    """
    sums: dict[str, Integers] = {}
    values: dict[str, Integers] = {}
    last: dict[str, tuple[Integers, ...]] = {}
    batch = len(next(iter(rows.values()))) if rows else 1
    for each in network.stations:
        name = each.station.name
        total = np.zeros((batch, len(each.bias)), dtype=np.int64) + each.bias
        if name in rows:
            total += rows[name]
        for junction in network.into[name]:
            total += junction.push(values[junction.junction.source])
        if each.cell is not None and each.reading is not None:
            start, real = (state or {}).get(name), each.station.real_units
            total[:, :real], read, last[name] = each.cell.run(total[:, :real], each.reading, steps, start)
            read = read if each.cell.behind is None else each.cell.behind(read)
            values[name] = np.pad(read, ((0, 0), (0, each.station.units - real)))
        else:
            values[name] = each.read(total)
        sums[name] = total
    return IntegerTrace(sums, values, last)


def outputs_of(network: IntegerNetwork, trace: IntegerTrace) -> Values:
    """The outputs as numbers, float64 [batch, units of all positions], output stations side by side.

    An output with a format gives its integers times its scale; one without gives its sums times their scale, with
    its activations in floating point.
    """
    parts: list[Values] = []
    for station in network.graph.outputs:
        each = network.station(station.name)
        if each.reading is not None:
            whole = trace.values[station.name][:, : real_read_size(station)]
            parts.append(whole.astype(np.float64) * np.float64(each.scale))
            continue
        part: Values = trace.values[station.name][:, : real_size(station)].astype(np.float64) * each.sum_scale
        for function in functions_of(station, {}):
            part = function.apply(part)
        parts.append(part)
    return np.concatenate(parts, axis=1)


def integer_forward(network: IntegerNetwork, inputs: Inputs) -> Values:
    """Outputs of a quantized graph: float64 [batch, units] for inputs [batch, units], [units] for inputs [units].

    Of nets with cells [batch, steps, units] or [steps, units], with extents [batch, channels, *extents]. Raises as
    `quantize_inputs`.
    """
    rows, layout = quantize_inputs(network, inputs)
    outputs = outputs_of(network, evaluate_integers(network, rows, max(layout.steps, 1)))
    return layout.shaped(outputs, output_shape(network.graph))
