"""Quantized nets on GPUs: integers alone, on tensor cores where destinations hear the same sources."""
