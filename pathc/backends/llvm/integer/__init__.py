"""Kernels of quantized nets: u8 x s8 dot products, bit for bit what the integer interpreter computes."""
