"""Row kernels: a few samples at a time, the lanes of a vector over units."""
