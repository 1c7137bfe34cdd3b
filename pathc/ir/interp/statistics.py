"""The statistics that batch normalization keeps while a net is trained."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from pathc.ir.catalogue import options_of
from pathc.ir.graph import Graph
from pathc.ir.interp.base import Values
from pathc.ir.interp.evaluate import Trace
from pathc.ir.interp.expand import expanded, owner
from pathc.ir.interp.junctions import real_size
from pathc.ir.interp.network import functions_of
from pathc.ir.interp.stages import Norm
from pathc.ir.weights import MEAN, VARIANCE, Tensors


def moved_statistics(graph: Graph, weights: Tensors, trace: Trace) -> dict[str, Values]:
    """Means and variances of all normalizations after a batch, by tensor: the stored ones moved by their momentum.

    `trace` is that of the batch in training. In an equation, the mean over its evaluations counts.
    """
    seen: dict[str, list[tuple[Values, Values]]] = defaultdict(list)
    momentum: dict[str, float] = {}
    for station in expanded(graph)[0]:
        stage = station.stage("batchnorm")
        if stage is None:
            continue
        if station.name in trace.fed:
            seen[station.name].append(trace.fed[station.name].statistics())
        else:
            x = trace.sums[station.name][:, : real_size(station)]
            for function in functions_of(station, weights, training=True):
                if isinstance(function, Norm):
                    seen[owner(station.name)].append(function.statistics(x))
                    break
                x = function.apply(x)
        share = options_of(stage)["momentum"]
        assert isinstance(share, float | int)
        momentum[owner(station.name)] = share
    moved: dict[str, Values] = {}
    for name, found in seen.items():
        for number, tensor in enumerate((MEAN, VARIANCE)):
            before = np.asarray(weights[f"{name}.{tensor}"], np.float64)
            now = np.mean([pair[number] for pair in found], axis=0)
            moved[f"{name}.{tensor}"] = before + momentum[name] * (now - before)
    return moved
