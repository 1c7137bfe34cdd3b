"""Measuring: kernels on this machine, beside the machine's limits and other libraries."""

from __future__ import annotations

from pathc.bench.harness import Plan, Row, bench
from pathc.bench.peers import peers_of

__all__ = ["Plan", "Row", "bench", "peers_of"]
