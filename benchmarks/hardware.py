"""Cells of the engine's address path and lanes beside what they replace, as yosys maps them to Xilinx 7-series logic.

The peer of the address path is a clash-free interleaver with start vectors and memory dither (Dey et al.): a counter
for every bank, and for every lane a multiplexer over all banks. Run: python benchmarks/hardware.py

With --place, EX of an engine with eight int8 lanes, its weight FIFO and its memories are placed and routed on an
ice40 hx8k by nextpnr, which says how fast the clock may be.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pathc.backends.engine.machine import Machine
from pathc.backends.engine.verilog import module_text
from pathc.backends.engine.verilog.emit import definitions

UNIT_BITS, STEP_BITS, WIDTH = 10, 8, 8

OURS = """
module top #(parameter LANE_BITS = 4) (input wire clk, load, enable, set, bit_in,
    input wire [{step}-1:0] first_step, input wire [{unit}-1:0] first_unit,
    input wire [({width} << LANE_BITS)-1:0] banks, output reg [({width} << LANE_BITS)-1:0] lanes,
    output wire [{unit}-LANE_BITS-1:0] row);
  reg [{unit}*{step}-1:0] prefix;
  wire [{unit}-1:0] unit;
  wire [({width} << LANE_BITS)-1:0] permuted;
  pe_generator #({unit}, {step}) generator(clk, load, enable, first_step, first_unit, prefix, unit);
  pe_permuter #(LANE_BITS, {width}) permuter(unit[{unit}-1-:LANE_BITS], banks, permuted);
  assign row = unit[{unit}-LANE_BITS-1:0];
  always @(posedge clk) begin
    lanes <= permuted;
    if (set) prefix <= {{prefix, bit_in}};
  end
endmodule
"""
DITHERED = """
module top #(parameter LANE_BITS = 4) (input wire clk, load, enable,
    input wire [(({unit}-LANE_BITS) << LANE_BITS)-1:0] start, input wire [(LANE_BITS << LANE_BITS)-1:0] dither_in,
    input wire [({width} << LANE_BITS)-1:0] banks, output reg [({width} << LANE_BITS)-1:0] lanes,
    output reg [(({unit}-LANE_BITS) << LANE_BITS)-1:0] rows);
  localparam ROW = {unit} - LANE_BITS;
  reg [(LANE_BITS << LANE_BITS)-1:0] dither;
  integer l;
  always @(posedge clk) begin
    if (load) dither <= dither_in;
    for (l = 0; l < 1 << LANE_BITS; l = l + 1) begin
      rows[l*ROW+:ROW] <= load ? start[l*ROW+:ROW] : rows[l*ROW+:ROW] + enable;
      lanes[l*{width}+:{width}] <= banks[dither[l*LANE_BITS+:LANE_BITS]*{width}+:{width}];
    end
  end
endmodule
"""
LANE_I8 = """
module top(input wire clk, input wire signed [7:0] x, w, output reg signed [23:0] sum);
  always @(posedge clk) sum <= sum + x * w;
endmodule
"""
LANE_T2 = """
module top(input wire clk, input wire [7:0] x, input wire [1:0] w, output reg [23:0] sum);
  wire [23:0] wide = {{16{x[7]}}, x};
  wire [23:0] term = {24{w[0]}} & ({24{w[1]}} ^ wide);
  always @(posedge clk) sum <= sum + term + (w[0] & w[1]);
endmodule
"""


PLACED = """
module top(input wire clk, reset, start, shift, in, output reg out);
  localparam LANES = 8, ACC = 24;
  reg [127:0] word;
  reg [863:0] slot;
  reg [63:0] row, read, activations[0:255];
  reg [ACC*LANES-1:0] sum, written_before, sums[0:255];
  reg [7:0] place;
  wire busy, done, pop, some, full, buffer;
  wire [63:0] weights;
  wire [19:0] table_address;
  wire [11*LANES-1:0] read_rows, sum_rows, write_rows;
  wire [LANES-1:0] write;
  wire [ACC*LANES-1:0] written;
  pe_fifo #(16, 5, 64) fifo (clk, reset, shift && !full, row, pop, weights, some, full);
  pe_execute #(LANES, 3, ACC, 1, 0, 27) execute (
      clk, reset, start, word, 1'b0, busy, done, slot, table_address, {32 * LANES{1'b0}}, some, pop, weights, read_rows,
      read, read, sum_rows, sum, write, write_rows, written
  );
  always @(posedge clk) begin
    if (shift) {row, slot, word} <= {row, slot, word, in};
    if (shift) place <= place + 1'b1;
    if (shift) activations[place] <= row;
    read <= activations[read_rows[7:0]];
    if (write[0]) sums[write_rows[7:0]] <= written;
    sum <= sums[sum_rows[7:0]];
    written_before <= written;
    out <= ^written_before ^ done;
  end
endmodule
"""


def place() -> int:
    """Print the clock that nextpnr reaches for EX with eight lanes, of three seeds."""
    missing = [name for name in ("yosys", "nextpnr-ice40") if shutil.which(name) is None]
    if missing:
        print(f"needs {missing[0]} (Debian packages yosys and nextpnr-ice40)", file=sys.stderr)
        return 3
    machine = Machine(lanes=8, activation_rows=256, accumulator_rows=256, accumulator_bits=24, table_rows=0)
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "top.v", Path(folder) / "top.json"
        modules = ("pe_permuter", "pe_load", "pe_execute")
        source.write_text(definitions(machine) + "".join(map(module_text, modules)) + PLACED)
        script = f"read_verilog {source}; synth_ice40 -device hx -top top -json {made}"
        subprocess.run(["yosys", "-q", "-p", script], check=True, capture_output=True)
        for seed in (1, 2, 3):
            command = ["nextpnr-ice40", "--hx8k", "--package", "ct256", "--json", str(made), "--freq", "70",
                       "--seed", str(seed), "--pcf-allow-unconstrained", "--timing-allow-fail"]  # fmt: skip
            said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
            clock = re.findall(r"Max frequency for clock .*: ([\d.]+) MHz", said)[-1]
            used, there = re.findall(r"ICESTORM_LC:\s+(\d+)/\s*(\d+)", said)[0]
            print(f"seed {seed}: {clock} MHz, {used} of {there} logic cells")
    return 0


def cells(text: str, lane_bits: int | None = None) -> int:
    """Logic cells (a look-up table with what follows it) that yosys estimates; multipliers are built from them too."""
    with tempfile.TemporaryDirectory() as folder:
        source, report = Path(folder) / "top.v", Path(folder) / "stat.txt"
        source.write_text("".join(map(module_text, ("pe_permuter", "pe_generator"))) + text)
        parameter = f"chparam -set LANE_BITS {lane_bits} top; " if lane_bits else ""
        script = (
            f"read_verilog {source}; {parameter}synth_xilinx -family xc7 -noiopad -nodsp -top top; "
            f"tee -o {report} stat -tech xilinx"
        )
        subprocess.run(["yosys", "-q", "-p", script], check=True, capture_output=True)
        return int(re.findall(r"Estimated number of LCs:\s+(\d+)", report.read_text())[-1])


def main() -> int:
    if sys.argv[1:] == ["--place"]:
        return place()
    if shutil.which("yosys") is None:
        print("needs yosys (Debian package yosys)", file=sys.stderr)
        return 3
    sizes = {"unit": UNIT_BITS, "step": STEP_BITS, "width": WIDTH}
    table = Table("what", "cells", "peer", "cells of the peer", "ratio")
    for lane_bits in (3, 4, 5):
        ours, peer = cells(OURS.format(**sizes), lane_bits), cells(DITHERED.format(**sizes), lane_bits)
        lanes = 1 << lane_bits
        table.add_row(f"addresses, z = {lanes}", str(ours), "memory dither", str(peer), f"{ours / peer:.2f}")
    ternary, integer = cells(LANE_T2), cells(LANE_I8)
    table.add_row("ternary lane", str(ternary), "int8 lane", str(integer), f"{ternary / integer:.2f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
