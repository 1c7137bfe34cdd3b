"""Nets with extents on the CPU: channels as planes, filters as sums of shifted planes."""
