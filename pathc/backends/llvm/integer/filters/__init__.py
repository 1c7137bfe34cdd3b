"""Filters of quantized nets: bytes in planes, positions in the lanes, four channels in every 32 bits."""
