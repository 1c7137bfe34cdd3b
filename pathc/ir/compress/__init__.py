"""Trained nets made smaller without training: quantization, calibration, normalization, sampling of paths."""
