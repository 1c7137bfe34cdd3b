"""Kernels through TVM: plans, TIR, schedules, CUDA text and binaries. Only `facade.py` imports tvm."""
