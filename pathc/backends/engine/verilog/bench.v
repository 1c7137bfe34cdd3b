// A clock for simulators that have none of their own.
module pe_bench;
  reg clk = 0, reset = 1;
  pe_board board (clk, reset);
  always #1 clk = !clk;
  initial #4 reset = 0;
endmodule
