// Runs the board under Verilator until it finishes.
#include "Vpe_board.h"
#include "verilated.h"

int main(int argc, char** argv) {
  VerilatedContext context;
  context.commandArgs(argc, argv);
  Vpe_board board{&context};
  board.reset = 1;
  for (long half = 0; !context.gotFinish(); ++half) {
    if (half == 4) board.reset = 0;
    board.clk = half & 1;
    board.eval();
  }
  board.final();
  return 0;
}
