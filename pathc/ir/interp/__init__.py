"""The meaning of a graph: a float64 interpreter, forward and backward, and the error a backend may make.

    a_s = bias_s or 0;  every line into s adds weight * f(a_source) over its paths;  f is applied when s is read

A silent unit of `pad` reads as zero. Several inputs (outputs) lie side by side in the order of declaration.
"""

from __future__ import annotations

from pathc.ir.interp.bound import agrees, error_bound, tolerance, unit_roundoff
from pathc.ir.interp.evaluate import Trace, backward, evaluate, forward
from pathc.ir.interp.network import Inputs, supports

__all__ = [
    "Inputs",
    "Trace",
    "agrees",
    "backward",
    "error_bound",
    "evaluate",
    "forward",
    "supports",
    "tolerance",
    "unit_roundoff",
]
