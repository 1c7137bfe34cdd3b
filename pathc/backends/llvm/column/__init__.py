"""Column kernels: the lanes of a vector over samples, buffers [units][columns] in natural order of the units."""
