"""Outputs of a target in numbers, and how far they are from those of the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pathc.backends.base import Integers, Sampled
from pathc.support.diagnostics import Diagnostic, InternalError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pathc.driver import Compiled


def summary(outputs: NDArray[Any]) -> dict[str, Any]:
    """Shape and type of outputs, their range and mean, and how many are NaN or infinite."""
    import numpy as np

    finite = outputs[np.isfinite(outputs)].astype(np.float64)
    values = (finite.min(), finite.max(), finite.mean()) if finite.size else (0.0, 0.0, 0.0)
    return {
        "shape": list(outputs.shape),
        "dtype": str(outputs.dtype),
        **dict(zip(("least", "largest", "mean"), map(float, values), strict=True)),
        "not_finite": int(outputs.size - finite.size),
    }


@dataclass(frozen=True)
class Agreement:
    """How far outputs are from the reference: largest absolute and relative error, and the bound at the worst output.

    `bound` is the largest of the bounds, `share` the largest error in units of its own bound: at most 1 if right.
    `not_compared` counts samples in which a unit is NaN or beyond float32, about which a target promises nothing.
    """

    max_abs_error: float
    max_rel_error: float
    bound: float
    share: float
    agrees: bool
    not_compared: int = 0


def compare(compiled: Compiled, inputs: NDArray[Any], outputs: NDArray[Any]) -> Agreement:
    """Compare outputs with the float64 interpreter, element by element, under its error bound.

    A sample with NaN or what float32 cannot hold anywhere in the net is left out: edges that were added up beforehand,
    or products with the zero of a missing edge, make other NaN of infinities than the sum over paths does. Targets that
    compute with integers must equal the integer interpreter; functions of their outputs in floating point may round.
    """
    import numpy as np

    if isinstance(compiled.executable, Sampled) and compiled.executable.sampled:
        text = f"`{compiled.target.name}` samples its activations and cannot be held to the reference"
        raise UsageError(Diagnostic("E0806", text, help="leave `rate` out: what is zero is skipped then, nothing else"))
    from pathc.ir.interp import agrees, error_bound, evaluate, unit_roundoff

    trace = evaluate(compiled.graph, compiled.weights, inputs)
    clean = trace.finite()
    units = trace.outputs.size // max(clean.size, 1)
    expected, outputs = (values.reshape(clean.size, units)[clean] for values in (trace.outputs, outputs))
    if isinstance(compiled.executable, Integers):
        exact = compiled.executable.integer_reference(inputs).reshape(clean.size, units)[clean]
        error, room = np.abs(outputs - expected), compiled.executable.roundoff * np.maximum(np.abs(exact), 1.0)
        same = bool((np.abs(outputs - exact) <= room).all())
        relative = np.divide(error, np.abs(expected), out=np.zeros_like(error), where=expected != 0)
        share = 0.0 if same else float("inf")
        return Agreement(_largest(error), _largest(relative), 0.0, share, same, int(clean.size - clean.sum()))
    of_weights = of_values = 0.0
    factors = {"tf32": "float16", "fp16": "float16", "bf16": "bfloat16", "fp8": "float8"}
    precision = str(compiled.target.options.get("precision", ""))
    if precision in factors:
        of_weights = of_values = unit_roundoff(factors[precision])
    elif str(compiled.target.options.get("weights", "")) == "bf16":
        of_weights = unit_roundoff("bfloat16")
    elif any(tensor.dtype != np.float32 for tensor in compiled.weights.values()):
        of_weights = unit_roundoff("float32")
    bounds = error_bound(compiled.graph, compiled.weights, inputs, unit_roundoff("float32"), of_weights, of_values)
    bound = bounds.reshape(clean.size, units)[clean]
    finite = np.isfinite(expected) & np.isfinite(outputs)
    error = np.abs(np.where(finite, outputs - expected, 0.0))
    scale = np.where(finite, np.abs(expected), 1.0)
    return Agreement(
        _largest(error),
        _largest(np.divide(error, scale, out=np.zeros_like(error), where=scale > 0)),
        _largest(bound),
        _largest(np.divide(error, bound, out=np.zeros_like(error), where=bound > 0)),
        bool(agrees(outputs, expected, bound).all()),
        int(clean.size - clean.sum()),
    )


def disagreement(compiled: Compiled, found: Agreement) -> InternalError:
    """The fault of a target whose outputs are wrong, E0812."""
    text = f"`{compiled.target.name}` differs from the reference by {found.share:.3g} times what rounding explains"
    notes = (f"largest error {found.max_abs_error:.3g}, largest bound {found.bound:.3g}",)
    help = "please report this with the model; another kernel form (--form) may be right"
    return InternalError(Diagnostic("E0812", text, notes=notes, help=help))


def _largest(values: NDArray[np.float64]) -> float:
    return float(values.max(initial=0.0))
