"""Recurrent cells in float64: the formulas once, evaluated plainly, on a tape for gradients, and with error bounds."""
