"""Every instruction: its bits, and what it does against the sentence that declares it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_programs import instructions
from hypothesis import given
from hypothesis import strategies as st

from pathc.backends.engine.isa import (
    BY_CODE,
    BY_NAME,
    OPERATIONS,
    Context,
    Instruction,
    Memories,
    State,
    Unit,
    decode,
    instruction,
)
from pathc.backends.engine.isa.state import pack, unpack
from pathc.backends.engine.machine import Machine, parse_machine
from pathc.support.diagnostics import PathcError

FIRST = Context()
SMALL = Machine(lanes=4, activation_rows=8, accumulator_rows=8, accumulator_bits=24)


@given(instructions())
def test_words_read_back(each: Instruction) -> None:
    assert decode(each.encode(), BY_CODE) == each


@given(st.binary(min_size=16, max_size=16))
def test_a_word_is_refused_or_means_what_it_says(data: bytes) -> None:
    try:
        each = decode(data, BY_CODE, 48)
    except PathcError as refused:
        (said,) = refused.diagnostics
    else:
        assert each.encode() == data
        return
    assert said.code == "E1004"
    assert "at offset 48" in said.message


def test_every_bit_behind_the_fields_is_reserved() -> None:
    for operation in OPERATIONS:
        assert operation.bits <= 128
        word = int.from_bytes(instruction(operation).encode(), "little")
        for bit in range(operation.bits, 128):
            with pytest.raises(PathcError, match="reserved"):
                decode((word | 1 << bit).to_bytes(16, "little"), BY_CODE)


def test_opcodes_are_distinct_and_zero_is_none() -> None:
    assert len(BY_CODE) == len(BY_NAME) == len(OPERATIONS)
    assert 0 not in BY_CODE
    assert {operation.unit for operation in OPERATIONS} == set(Unit)


def state(inputs: object = (), weights: bytes = b"", tables: object = (), parameters: object = (),
          config: object = (), curves: object = (), machine: Machine = SMALL) -> State:  # fmt: skip
    z = machine.lanes
    outside = Memories(
        np.array(inputs, np.uint8).reshape(-1, z),
        weights,
        np.array(tables, np.uint32).reshape(-1, z),
        np.array(parameters, np.int32).reshape(-1, z, 4),
        np.array(curves, np.uint8).reshape(-1, 256),
        np.array(config, np.uint32),
        8,
    )
    return State(machine, outside)


def do(on: State, name: str, context: Context = FIRST, **fields: int) -> None:
    each = instruction(BY_NAME[name], **fields)
    each.operation.meaning(on, each.fields, context)


def test_load_store_swap_and_the_round_of_the_loop() -> None:
    on = state(inputs=np.arange(16))
    do(on, "LDA", Context(iteration=2, parity=1), row=3, rows=1, address=1, stride=1)
    assert on.activations[1, 3].tolist() == [12, 13, 14, 15]
    do(on, "STA", Context(parity=1), row=3, address=2)
    assert on.outputs[2].tolist() == [12, 13, 14, 15]
    on.sums[5] = -7
    do(on, "STA", row=5, address=7, wide=1)
    assert on.outputs[7].tolist() == [-7] * 4


def test_path_reads_one_row_through_exchanges_and_adds_in_its_lane() -> None:
    column = 1 | 1 << 11 | 3 << 22
    on = state(config=[2 << 22, 0, 0, column], weights=pack(np.arange(1, 9), "i8"))
    on.activations[0, 2:4] = [[1, 2, 3, 4], [10, 20, 30, 40]]
    do(on, "CFG", slot=5, words=4)
    do(on, "LDW", rows=2)
    do(on, "PATH", slot=5, steps=2, source=2, sum=1)
    lanes = np.arange(4)
    assert on.sums[1].tolist() == (np.array([1, 2, 3, 4]) * np.array([1, 2, 3, 4])[lanes ^ 2]).tolist()
    assert on.sums[2].tolist() == (np.array([5, 6, 7, 8]) * np.array([10, 20, 30, 40])[lanes ^ 1]).tolist()


def test_signs_of_activations() -> None:
    for flags, expected in (({}, -1), ({"unsigned": 1}, 255), ({"rectify": 1}, 0)):
        on = state(config=[0], weights=bytes([1] * 4))
        on.activations[0, 0] = 255
        do(on, "LDW")
        do(on, "PATH", **flags)
        assert on.sums[0].tolist() == [expected] * 4


def test_table_steps_pick_a_row_per_bank_and_a_bank_per_lane() -> None:
    rows, banks, sums, valid = [0, 1, 2, 3], [3, 2, 2, 0], [4, 5, 6, 7], [1, 1, 1, 0]
    words = [r | s << 11 | b << 22 | v << 30 for r, s, b, v in zip(rows, sums, banks, valid, strict=True)]
    on = state(tables=words, weights=bytes([1, 1, 1, 1]))
    on.activations[0, :4] = np.arange(16).reshape(4, 4)
    do(on, "LDW")
    do(on, "TPATH")
    assert [on.sums[s, lane] for lane, s in enumerate(sums)] == [15, 10, 10, 0]


def test_dense_joins_every_bank_of_every_row_to_every_lane() -> None:
    weights = np.arange(-16, 16)
    on = state(weights=pack(weights, "i8"))
    on.activations[0, :2] = np.arange(8).reshape(2, 4)
    do(on, "LDW", rows=8)
    do(on, "DENSE", bits=2, rows=2, sum=3)
    w = weights.reshape(2, 4, 4)
    expected = [sum(int(w[r, x, m]) * (4 * r + (m ^ x)) for r in range(2) for x in range(4)) for m in range(4)]
    assert on.sums[3].tolist() == expected


@given(st.data())
def test_band_multiplies_diagonals(data: st.DataObject) -> None:
    """Against the definition: unit lane * rows + row reads unit + d, around the lanes if it has to."""
    lanes, rows = data.draw(st.sampled_from([4, 8])), data.draw(st.integers(1, 5))
    first = data.draw(st.integers(-rows, rows))
    diagonals, hold = data.draw(st.integers(1, rows - first + 1)), data.draw(st.integers(1, 2))
    rng, units = np.random.default_rng(rows), lanes * rows
    weights = rng.integers(-128, 128, (diagonals, rows, lanes))
    on = state(weights=pack(weights.reshape(-1), "i8"), machine=replace(SMALL, lanes=lanes, activation_rows=16,
                                                                         accumulator_rows=16))  # fmt: skip
    x = rng.integers(-128, 128, (hold, units))
    for sample, values in enumerate(x):
        on.activations[0, 1 + sample * rows : 1 + (sample + 1) * rows] = values.reshape(lanes, rows).T & 0xFF
    do(on, "LDW", rows=rows * diagonals)
    do(on, "BAND", rows=rows, first=first, diagonals=diagonals, source=1, sum=2, hold=hold, source_stride=rows,
       sum_stride=rows)  # fmt: skip
    for sample, values in enumerate(x):
        expected = [sum(int(weights[k, u % rows, u // rows]) * int(values[(u + first + k) % units])
                        for k in range(diagonals)) for u in range(units)]  # fmt: skip
        assert on.sums[2 + sample * rows : 2 + (sample + 1) * rows].T.reshape(-1).tolist() == expected


def test_diagonals_beyond_the_neighbouring_banks_are_refused() -> None:
    for first, diagonals in ((-3, 1), (0, 4), (2, 2)):
        with pytest.raises(PathcError, match="E1011"):
            do(state(weights=bytes(99)), "BAND", rows=2, first=first, diagonals=diagonals)


def test_hold_uses_each_row_of_weights_for_several_samples() -> None:
    on = state(config=[0, 0, 0, 1], weights=pack(np.array([1] * 4 + [2] * 4), "i8"))
    on.activations[0, :6] = np.arange(6)[:, None]
    do(on, "CFG", words=4)
    do(on, "LDW", rows=2)
    do(on, "PATH", steps=2, hold=3, source_stride=2, sum_stride=1)
    assert on.sums[:3, 0].tolist() == [0 + 2 * 1, 2 + 2 * 3, 4 + 2 * 5]


@given(st.integers(-(1 << 23), (1 << 23) - 1), st.integers(-65535, 65535), st.integers(0, 40))
def test_act_rounds_to_even_and_clamps(total: int, factor: int, shift: int) -> None:
    on = state(parameters=[[0, factor, -factor, shift]] * 4)
    on.sums[0] = total
    do(on, "ACT", low=-128, high=127)
    exact = (total if total >= 0 else -total) * factor
    assert on.activations[0, 0].view(np.int8).tolist() == [min(127, max(-128, round_even(exact, shift)))] * 4
    assert not on.sums.any()


def round_even(value: int, shift: int) -> int:
    down, rest = value >> shift, value & ((1 << shift) - 1)
    return down + (2 * rest > 1 << shift or (shift > 0 and 2 * rest == 1 << shift and down % 2 == 1))


def test_act_folds_and_keeps_wide_sums() -> None:
    on = state(config=[0, 2 | 1 << 8, 0], parameters=[[100, 0, 0, 0]] * 4)
    on.sums[0] = [1, 10, 100, 1000]
    do(on, "CFG", words=3)
    do(on, "ACT", fold=1, wide=1)
    assert on.sums[0].tolist() == [201, 1110, 201, 1110]
    on.sums[0] = [1, 10, 100, 1000]
    do(on, "ACT", fold=2, wide=1)
    assert on.sums[0].tolist() == [1211] * 4


def test_act_looks_values_up_by_their_byte() -> None:
    curves = np.stack([np.arange(256), 255 - np.arange(256)])
    on = state(parameters=[[0, 1, 1, 0]] * 4, curves=curves)
    for number, expected in ((0, [1, 255, 127, 128]), (1, [1, 255, 127, 128]), (2, [254, 0, 128, 127])):
        on.sums[0] = [1, -1, 1000, -1000]
        do(on, "ACT", low=-128, high=127, curve=number)
        assert on.activations[0, 0].tolist() == expected
    with pytest.raises(PathcError, match="E1011"):
        do(on, "ACT", low=-128, high=127, curve=3)


def test_sums_wrap_at_their_width() -> None:
    on = state(parameters=[[1, 0, 0, 0]] * 4)
    on.sums[0] = (1 << 23) - 1
    do(on, "ACT", wide=1)
    assert on.sums[0].tolist() == [-(1 << 23)] * 4


@pytest.mark.parametrize("fields", [{"row": 7, "rows": 2}, {"address": 3, "rows": 2}])
def test_rows_that_are_not_there_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(PathcError, match="E1011"):
        do(state(inputs=np.arange(16)), "LDA", **fields)


def test_weights_that_no_stream_brings_are_missed() -> None:
    with pytest.raises(PathcError, match="E1010"):
        do(state(config=[0]), "PATH")


@pytest.mark.parametrize("format", ["i8", "i4", "t2"])
def test_weights_pack_and_unpack(format: str) -> None:
    bits = {"i8": 8, "i4": 4, "t2": 2}[format]
    values = np.random.default_rng(0).integers(-(1 << (bits - 1)), 1 << (bits - 1), 64)
    assert unpack(pack(values, format), format).tolist() == values.tolist()


@given(st.text(max_size=60))
def test_any_text_is_a_machine_or_refused(text: str) -> None:
    codes: list[str] = []
    for whole in (text, f"[machine]\n{text}", f"[machine]\nlanes = {text}"):
        try:
            parse_machine(whole)
        except PathcError as refused:
            codes.append(refused.diagnostics[0].code)
    assert {*codes} <= {"E1001", "E1002", "E1003"}


def test_machines_read_back_and_differ_in_hash() -> None:
    machine = Machine(lanes=64, forwarding=0)
    assert parse_machine(machine.as_toml()) == machine
    assert len({machine.hash, Machine().hash, Machine(lanes=64).hash}) == 3


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("lanes = 12", "E1003"), ("lanes = 512", "E1003"), ("lanes = 16.0", "E1002"), ("lanes = true", "E1002"),
        ("lane = 16", "E1002"), ("lanes 16", "E1001"), ("accumulator_bits = 28", "E1003"), ("clock = 0", "E1003"),
        ("[memory]", "E1002"), (f"clock = {'9' * 5000}", "E1001"),
    ],
)  # fmt: skip
def test_wrong_machines_are_refused(text: str, code: str) -> None:
    with pytest.raises(PathcError, match=code):
        parse_machine(f"[machine]\n{text}")
