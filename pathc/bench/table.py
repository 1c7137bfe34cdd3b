"""The figures as a table for people."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from rich.box import ASCII, HEAVY_HEAD
from rich.console import Console
from rich.table import Table

from pathc.bench.harness import Row

_WIDTH = 240


def show(rows: Sequence[Row]) -> str:
    """A table of the figures: times, rates, shares of the limit, and how many times faster than each peer."""
    peers = list(dict.fromkeys(name for row in rows for name in row.peers))
    plain = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    table = Table(
        box=ASCII if plain else HEAVY_HEAD,
        caption="two operations an edge, sample and step; `x`: a peer's time over the target's, peers on one thread",
    )
    remote = any(row.device for row in rows)
    for head in ("model", "target", "device") if remote else ("model", "target"):
        table.add_column(head, no_wrap=True)
    for head in ("batch", "median", "spread", "min", "GFLOP/s", "of limit", "bytes", "compile"):
        table.add_column(head, justify="right", no_wrap=True)
    for name in peers:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        share = f"{row.roofline_share:.0%}" if row.roofline_share is not None else "-"
        table.add_row(
            row.model,
            row.target,
            *([row.device or "here"] if remote else []),
            str(row.batch) if row.steps == 1 else f"{row.batch} x {row.steps}",
            duration(row.seconds_median),
            f"{row.spread:.0%}",
            duration(row.seconds_min),
            f"{row.gflops:.2f}" if row.gflops < 100 else f"{row.gflops:.0f}",
            share,
            f"{row.bytes:,}",
            duration(row.compile_seconds),
            *(_ratio(row, name) for name in peers),
        )
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    out = io.StringIO()
    Console(file=out, width=_WIDTH, force_terminal=colour, no_color=not colour).print(table)
    return out.getvalue()


def duration(seconds: float) -> str:
    """Seconds with a unit that leaves one to three digits before the point."""
    for unit, scale in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.3g} s"


def _ratio(row: Row, name: str) -> str:
    seconds = row.peers.get(name)
    return f"{seconds / row.seconds_median:.1f} x" if seconds else "-"
