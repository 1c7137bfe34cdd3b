"""What targets ask for that keep a value and a weight in a byte."""

from __future__ import annotations

from pathc.ir.interp.junctions import SkipJunction
from pathc.ir.quantized.network import IntegerNetwork
from pathc.support.diagnostics import Diagnostic, PathcError

_HELP = "quantize to i8, u8, i4 or t2, or run it with `-t reference{integers=true}`"


def check_bytes(network: IntegerNetwork, who: str) -> None:
    """Raise E1309 with every station and tensor whose integers do not fit into a byte, which `who` ("x has") lacks."""
    found: list[Diagnostic] = []
    for each in network.stations:
        name, format, loc = each.station.name, each.format, each.station.loc
        if format is not None and not (format.low >= -128 and format.high <= (127 if format.signed else 255)):
            found.append(Diagnostic("E1309", f"station `{name}` holds {format.type}, {who} bytes", loc, help=_HELP))
        for junction in network.into[name]:
            if junction.format.bits > 8 and not isinstance(junction.junction, SkipJunction):
                text = f"the weights `{junction.junction.tensor}` are {junction.format.type}, {who} bytes"
                found.append(Diagnostic("E1309", text, loc, help=_HELP))
    if found:
        raise PathcError(*found)
