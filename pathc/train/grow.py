"""Progressive growth: the first P paths of a net of 2P paths are the net of P paths, so training goes on with more.

New paths begin with weight zero (`zero`), which leaves the function of the net as it was: their gradients are not
zero, because they run through units that live. Or they begin as in a new net (`initial`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathc.ir.graph import Graph
from pathc.ir.init import initial_weights
from pathc.ir.weights import Tensors, check_weights, expected_tensors
from pathc.support.diagnostics import Diagnostic, PathcError, did_you_mean

KINDS = ("zero", "initial")
_CURE = "grow the `count` of the lines and nothing else"


def grown_weights(
    graph: Graph,
    weights: Tensors,
    *,
    kind: str = "zero",
    fixed_signs: bool = False,
    seed: int = 0,
    magnitude: float = 1.0,
) -> dict[str, NDArray[np.float32]]:
    """Weights of `graph` that begin with those of a net of fewer paths; tensors of equal shape are taken over.

    Raises PathcError: E0505 and E0506 for tensors that are missing or unknown, E0911 for others that do not fit,
    E0909 for an unknown kind.
    """
    if kind not in KINDS:
        help = did_you_mean(kind, KINDS) or f"one of {', '.join(KINDS)}"
        raise PathcError(Diagnostic("E0909", f"new paths cannot begin as `{kind}`", help=help))
    found = [d for d in check_weights(graph, weights, finite=True) if d.code != "E0507"]
    paths = {f"{line.name}.{j}" for line in graph.lines if line.kind == "paths" for j in line.junctions}
    fresh = {name: values * np.float32(magnitude) for name, values in initial_weights(graph, seed).items()}
    grown: dict[str, NDArray[np.float32]] = {}
    for name, shape in expected_tensors(graph).items():
        if name not in weights:
            continue
        old, new = np.asarray(weights[name], np.float32), fresh[name]
        more = name in paths and old.ndim == len(shape) and old.shape[1:] == shape[1:] and len(old) <= shape[0]
        if not more and old.shape != shape:
            text = f"tensor `{name}` of shape {list(old.shape)} is not the beginning of {list(shape)}"
            found.append(Diagnostic("E0911", text, graph.loc, help=_CURE))
            continue
        if fixed_signs and name in paths and bool((np.signbit(old) != np.signbit(new[: len(old)]))[old != 0].any()):
            text = f"tensor `{name}` has other signs than the sign rule gives its paths now"
            help = "use a rule that does not depend on the number of paths: bit(m), dim(k), positive"
            found.append(Diagnostic("E0911", text, graph.loc, help=help))
        if kind == "zero":
            new = np.copysign(np.zeros_like(new), new)
        grown[name] = np.concatenate([old, new[len(old) :]])
    if found:
        raise PathcError(*found)
    return grown
