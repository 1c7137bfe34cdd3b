"""Nets with recurrent cells: feed-forward kernels over all steps at once, and a time loop for every cell."""
