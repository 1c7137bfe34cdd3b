"""Simulation of engine programs: values and cycles, reports and traces."""

from __future__ import annotations

from pathc.backends.engine.sim.run import Run, simulate

__all__ = ["Run", "simulate"]
