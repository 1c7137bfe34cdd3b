"""What every instruction does to the memories."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pathc.backends.engine.isa.addresses import Steps, fold_masks, steps_of
from pathc.backends.engine.isa.state import SLOT_WORDS, Activity, Context, Int64, State, within
from pathc.backends.engine.machine import FORMATS
from pathc.ir.quantized import shift_right

Meaning = Callable[[State, Mapping[str, int], Context], None]


def control(state: State, fields: Mapping[str, int], context: Context) -> None:
    """HALT, SYNC, SWAP and LOOP change no memory; the dispatcher sees to them."""


def configure(state: State, fields: Mapping[str, int], context: Context) -> None:
    """CFG: a slot holds `words` words of the settings from `address` on, and zeros behind them."""
    words = state.outside.config[within("settings", fields["address"], fields["words"], len(state.outside.config))]
    slot = np.zeros(SLOT_WORDS, np.int64)
    slot[: len(words)] = words
    state.slots[fields["slot"]] = slot


def load(state: State, fields: Mapping[str, int], context: Context) -> None:
    """LDA: rows of the inputs into an activation buffer."""
    inputs, start = state.outside.inputs, fields["address"] + context.iteration * fields["stride"]
    target = within("activations", fields["row"], fields["rows"], state.machine.activation_rows)
    found = inputs[within("inputs", start, fields["rows"], len(inputs))]
    state.activations[fields["buffer"] ^ context.parity, target] = found


def store(state: State, fields: Mapping[str, int], context: Context) -> None:
    """STA: rows of an activation buffer as bytes, or of the accumulators if `wide`, to the outputs."""
    start = fields["address"] + context.iteration * fields["stride"]
    target = within("outputs", start, fields["rows"], len(state.outputs))
    if fields["wide"]:
        rows = within("accumulators", fields["row"], fields["rows"], state.machine.accumulator_rows)
        state.outputs[target] = state.sums[rows]
    else:
        rows = within("activations", fields["row"], fields["rows"], state.machine.activation_rows)
        state.outputs[target] = state.activations[fields["buffer"] ^ context.parity, rows]


def stream(state: State, fields: Mapping[str, int], context: Context) -> None:
    """LDW: the streamer puts rows of weights into the FIFO."""
    state.push(fields["address"], fields["rows"], tuple(FORMATS)[fields["format"]])


def accumulate(name: str) -> Meaning:
    """PATH, TPATH, DENSE and BAND: sum[lane] += weight[lane] * activation of the lane, step by step."""

    def run(state: State, fields: Mapping[str, int], context: Context) -> None:
        for steps in steps_of(state, name, fields):
            weights = np.repeat(state.pop(len(steps.clash) // fields["hold"]), fields["hold"], axis=0)
            values = _read(state, steps, fields, context)
            state.activity += _activity(steps, values)
            _add(state, steps, weights * values)

    return run


def _read(state: State, steps: Steps, fields: Mapping[str, int], context: Context) -> Int64:
    values = state.activations[fields["buffer"] ^ context.parity][steps.source_row, steps.source_bank].astype(np.int64)
    if not fields["unsigned"]:
        values -= (values >> 7) << 8
    return np.maximum(values, 0) if fields["rectify"] else values


def _activity(steps: Steps, values: Int64) -> Activity:
    added = np.broadcast_to(steps.valid != 0, values.shape)
    silent = added & (values == 0)
    empty = (silent == added).all(axis=1)
    return Activity(len(values), int(added.sum()), int(silent.sum()), int(empty.sum()))


def _add(state: State, steps: Steps, products: Int64) -> None:
    """Products are below 2^16 and a piece has fewer than 2^24 steps, so that float64 adds them up exactly."""
    lanes = state.machine.lanes
    cells = steps.sum_row * lanes + np.arange(lanes, dtype=np.int64)
    added = np.bincount(cells.reshape(-1), (products * steps.valid).reshape(-1), state.sums.size)
    state.sums = state.wrap(state.sums + added.astype(np.int64).reshape(state.sums.shape))


def activate(state: State, fields: Mapping[str, int], context: Context) -> None:
    """ACT: fold, add the bias, requantize with ties to even, clamp, look up, write a buffer; or sums if `wide`."""
    rows = within("accumulators", fields["sum"], fields["rows"], state.machine.accumulator_rows)
    sums = state.sums[rows].copy()
    lanes = np.arange(state.machine.lanes)
    for mask in fold_masks(state.slots[fields["slot"]], fields["fold"]):
        sums = state.wrap(sums + sums[:, lanes ^ (mask & (state.machine.lanes - 1))])
    parameters = state.outside.parameters
    held = parameters[within("parameters", fields["parameters"], fields["rows"], len(parameters))].astype(np.int64)
    sums = state.wrap(sums + held[..., 0])
    state.sums[rows] = sums if fields["wide"] else 0
    if fields["wide"]:
        return
    factor = np.where(sums >= 0, held[..., 1], held[..., 2])
    values = np.clip(shift_right(sums * factor, held[..., 3]), fields["low"], fields["high"])
    target = within("activations", fields["row"], fields["rows"], state.machine.activation_rows)
    stored = (values & 0xFF).astype(np.uint8)
    if fields["curve"]:
        curves = state.outside.curves
        stored = curves[within("curves", fields["curve"] - 1, 1, len(curves))][0][stored]
    state.activations[fields["buffer"] ^ context.parity, target] = stored
