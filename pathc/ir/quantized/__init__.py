"""The meaning of a quantized graph: integers only, the same on every target.

    sum_s = bias_s + sum of weight * q_source over all that leads into s    i8/i4/t2 times u8/i8, in 24 or 32 bits
    q_s   = clamp(round(sum_s * multiplier * 2^-shift))                     ties to even, then table or winners

A graph is quantized when it carries a `scale` fact for every station that is read (what the integer 1 stands for), a
`weights` fact for every junction and a `recurrent` fact for every cell, and when its tensors are integers with
`<name>.scale` beside them, of shape [], [1] or [real units of the destination]. `scale of the weights * scale of the
source` is what 1 stands for in the sums; all that adds up in one station must agree on it. A float bias is rounded to
that scale. Cells that are one sum a unit and step add the products of their state to the same sums: see `cells`.

How to use it:

    network = integer_network(graph, weights, accumulator_bits=24)    # E13xx if something does not fit
    for each in network.stations:                                      # in an order of evaluation
        each.bias, each.bits, each.low, each.high                      # int64 [units]; proved width, bounds of sums
        each.reading                                                   # Reading: positive, negative, shift, low, high,
                                                                       # table, winners; None: given as sums
        for junction in network.into[each.station.name]:
            junction.junction, junction.weights, junction.format       # who reads what; int64 weights in their format
        each.cell                                                      # IntegerCell: weights, behind; None: no cell
    rows, layout = quantize_inputs(network, x)                         # integers of the inputs, by station
    trace = evaluate_integers(network, rows)                           # trace.sums, trace.values: int64 [batch, units]
    trace = evaluate_integers(network, rows, layout.steps)             # the same for sequences, [batch * steps, units]
    outputs_of(network, trace)                                         # as numbers, float64

`accumulator_bits` of a whole graph without its weights: `bits_from_fan_in`. Every target must reproduce `trace.values`
bit for bit. No partial sum leaves [low, high] in any order of additions, so neither wrapping nor saturating
accumulators of `bits` bits change a result.
"""

from __future__ import annotations

from pathc.ir.quantized.activations import TABLE, Reading, never_negative, reading
from pathc.ir.quantized.cells import IntegerCell, state_range
from pathc.ir.quantized.evaluate import IntegerTrace, evaluate_integers, integer_forward, outputs_of, quantize_inputs
from pathc.ir.quantized.formats import Format, format_of
from pathc.ir.quantized.narrow import check_bytes
from pathc.ir.quantized.network import IntegerJunction, IntegerNetwork, IntegerStation, integer_network
from pathc.ir.quantized.rounding import Ratio, nearest_ratio, power_of_two, round_to_format, shift_right
from pathc.ir.quantized.sums import bits_for, bits_from_fan_in, bits_of_bounds, too_wide

__all__ = [
    "TABLE",
    "Format",
    "IntegerCell",
    "IntegerJunction",
    "IntegerNetwork",
    "IntegerStation",
    "IntegerTrace",
    "Ratio",
    "Reading",
    "bits_for",
    "bits_from_fan_in",
    "bits_of_bounds",
    "check_bytes",
    "evaluate_integers",
    "format_of",
    "integer_forward",
    "integer_network",
    "nearest_ratio",
    "never_negative",
    "outputs_of",
    "power_of_two",
    "quantize_inputs",
    "reading",
    "round_to_format",
    "shift_right",
    "state_range",
    "too_wide",
]
