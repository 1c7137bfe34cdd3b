"""What of a net with extents has no meaning in integers."""

from __future__ import annotations

from collections.abc import Iterator

from pathc.ir.extents import POOLS
from pathc.ir.graph import Graph, Station
from pathc.ir.interp.activations import activation
from pathc.ir.misfits import unscaled_only
from pathc.support.diagnostics import Diagnostic

_KNOWN = ("bias", "conv", "concat", "channelshuffle", *POOLS)
_CURES = {
    "batchnorm": "a normalization right behind weights is folded into them by `pathc quantize --data`",
    "ode": "write the steps of the equation as stations of their own",
    "kwinners": "winners are chosen among flat units",
}


def beyond_integers(graph: Graph) -> list[Diagnostic]:
    """E1303 for every stage that integers cannot do, E0379 for lines whose weights have a scale beside them."""
    found = [
        Diagnostic("E1303", f"station `{station.name}` has the stage `{name}`", station.loc,
                   help=_CURES.get(name, "only bias, activations and filters can be brought into integers"))
        for station in graph.stations for name in _unknown(station)
    ]  # fmt: skip
    return found or unscaled_only(graph, "integers have")


def _unknown(station: Station) -> Iterator[str]:
    for stage in station.pipeline:
        known = stage.name in _KNOWN or activation(stage) is not None
        if not known or (stage.name == "kwinners" and len(station.shape) > 1):
            yield stage.name
