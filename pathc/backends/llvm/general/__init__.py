"""Row kernels for any size: stations in natural order, whatever their edges are."""
