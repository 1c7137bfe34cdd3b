"""CPU kernels through LLVM."""
