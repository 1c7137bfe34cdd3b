"""Kernels through TVM: plans, TIR, schedules, CUDA text and binaries. Only `facade.py` and `remote.py` import tvm."""
