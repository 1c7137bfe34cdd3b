"""Cells of the engine's address path and lanes beside what they replace, as yosys maps them to Xilinx 7-series logic.

The peer of the address path is a clash-free interleaver with start vectors and memory dither (Dey et al.): a counter
for every bank, and for every lane a multiplexer over all banks. Run: python benchmarks/hardware.py
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

from pathc.backends.engine.verilog import module_text

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
