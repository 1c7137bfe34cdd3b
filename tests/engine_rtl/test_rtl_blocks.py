"""The address path in hardware: simulated against the generators, and its bank freedom proved by a solver."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.backends.engine.verilog import module_text
from pathc.backends.engine.verilog.freedom import bank_freedom
from pathc.ir.generators.base import Affine
from pathc.ir.generators.sobol import Sobol
from pathc.ir.schedule.banks import Banks
from pathc.ir.schedule.blocks import End
from pathc.support.diagnostics import PathcError

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog (Debian package iverilog)")
needs_yosys = pytest.mark.skipif(shutil.which("yosys") is None, reason="needs yosys (Debian package yosys)")


def simulate(folder: Path, bench: str) -> list[list[int]]:
    """Numbers of every line that a test bench prints in front of the modules of the address path."""
    source = folder / "bench.v"
    source.write_text("".join(module_text(name) for name in ("pe_permuter", "pe_generator")) + bench)
    program = folder / "bench"
    subprocess.run(["iverilog", "-g2005", "-Wall", "-o", program, source], check=True)
    out = subprocess.run(["vvp", "-n", program], check=True, capture_output=True, text=True).stdout
    return [[int(word, 16) for word in line.split()] for line in out.splitlines()]


@needs_icarus
@pytest.mark.parametrize("lane_bits", [1, 2, 3, 4, 5])
def test_a_lane_gets_the_bank_that_the_constant_says(tmp_path: Path, lane_bits: int) -> None:
    lanes = 1 << lane_bits
    words = np.random.default_rng(lane_bits).permutation(256)[:lanes]
    packed = sum(int(word) << 8 * lane for lane, word in enumerate(words))
    bench = f"""
module bench;
  reg [{lane_bits}:0] c;
  wire [{8 * lanes - 1}:0] out;
  pe_permuter #(.LANE_BITS({lane_bits}), .WIDTH(8)) dut(c[{lane_bits - 1}:0], {8 * lanes}'h{packed:x}, out);
  initial for (c = 0; c < {lanes}; c = c + 1) begin #1 $display("%h", out); end
endmodule
"""
    shown = simulate(tmp_path, bench)
    assert len(shown) == lanes
    for constant, (out,) in enumerate(shown):
        got = [out >> 8 * lane & 255 for lane in range(lanes)]
        assert got == [int(words[lane ^ constant]) for lane in range(lanes)]


@needs_icarus
@pytest.mark.parametrize(
    ("dim", "scramble", "first"), [(0, "none", 0), (3, "none", 37), (5, "shift", 1), (7, "lms", 11)]
)
def test_the_generator_makes_one_unit_a_cycle(tmp_path: Path, dim: int, scramble: str, first: int) -> None:
    lane_bits, unit_bits, step_bits, steps = 3, 7, 6, 20
    count = 1 << (lane_bits + step_bits)
    sobol = Sobol((dim,), (1 << unit_bits,), count, scramble, seed=5)
    units = sobol.units(0, 0, count)[:: 1 << lane_bits]
    affine = sobol.affine(0)
    assert affine is not None
    prefix, total = 0, 0
    for k, column in enumerate(affine.columns[lane_bits:]):
        total ^= column
        prefix |= total << unit_bits * k
    bench = f"""
module bench;
  reg clk = 0, load = 1, enable = 1;
  wire [{unit_bits - 1}:0] unit;
  integer i;
  pe_generator #(.UNIT_BITS({unit_bits}), .STEP_BITS({step_bits})) dut(clk, load, enable, {step_bits}'d{first},
    {unit_bits}'d{int(units[first])}, {unit_bits * step_bits}'h{prefix:x}, unit);
  initial for (i = 0; i < {steps}; i = i + 1) begin
    #1 clk = 1; #1 clk = 0; load = 0; enable = i % 5 != 3;
    if (enable) $display("%h", unit);
  end
endmodule
"""
    shown = [unit for (unit,) in simulate(tmp_path, bench)]
    assert shown == [int(unit) for unit in units[first : first + len(shown)]]
    assert len(shown) == steps - steps // 5


def holds(folder: Path, text: str, output: str) -> bool:
    """Whether yosys proves that an output of `bank_freedom` is 1 for every step; a counterexample if not."""
    source = folder / "property.v"
    source.write_text(text)
    for verdict, flag in ((True, "-verify"), (False, "-falsify")):
        script = f"read_verilog {source}; proc; opt; sat {flag} -prove {output} 1 bank_freedom"
        if subprocess.run(["yosys", "-q", "-p", script], capture_output=True, check=False).returncode == 0:
            return verdict
    raise AssertionError("neither proved nor refuted")


def end(dim: int, map: str, units: int = 256, lane_bits: int = 3, scramble: str = "none") -> End:
    affine = Sobol((dim,), (units,), 1 << 16, scramble, seed=1).affine(0)
    assert affine is not None
    return End(affine, Banks(units, 1 << lane_bits, map), lane_bits)


@needs_yosys
@pytest.mark.parametrize("dim", [0, 1, 2, 5, 9])
def test_a_solver_proves_that_blocks_are_free_of_clashes(tmp_path: Path, dim: int) -> None:
    text = bank_freedom(end(dim, "high"), 13)
    assert holds(tmp_path, text, "free")
    assert holds(tmp_path, text, "one_row")


@needs_yosys
def test_a_solver_refutes_banks_by_the_low_bits(tmp_path: Path) -> None:
    text = bank_freedom(end(5, "low"), 13)
    assert not holds(tmp_path, text, "free")


@needs_yosys
def test_a_matrix_scramble_keeps_banks_free_but_not_one_row(tmp_path: Path) -> None:
    text = bank_freedom(end(3, "high", scramble="lms"), 13)
    assert holds(tmp_path, text, "free")
    assert not holds(tmp_path, text, "one_row")


@needs_yosys
@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 63), min_size=8, max_size=8), st.integers(0, 63), st.sampled_from(["high", "low"]))
def test_the_solver_agrees_with_linear_algebra(
    tmp_path_factory: pytest.TempPathFactory, columns: list[int], shift: int, map: str
) -> None:
    any_end = End(Affine(tuple(columns), shift), Banks(64, 4, map), 2)
    text = bank_freedom(any_end, 6)
    folder = tmp_path_factory.mktemp("property")
    assert holds(folder, text, "free") == (any_end.load == 1)
    assert holds(folder, text, "one_row") == any_end.common_row


def test_too_many_lanes_are_refused() -> None:
    with pytest.raises(PathcError, match="128 are too many"):
        bank_freedom(end(0, "high", lane_bits=7), 8)
