"""Kernels for bfloat16: factors of two bytes, sums of float32, in tile registers or as dot products of vectors."""
