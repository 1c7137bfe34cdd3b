"""Registers that hold a tile of 16 rows, and the matrix products of two of them (AMX)."""
