"""Kernels driven by events: units that are zero, or were not sampled, send nothing."""
