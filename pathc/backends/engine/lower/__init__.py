"""Lowering: from a quantized graph to a program for the engine."""

from __future__ import annotations

from pathc.backends.engine.lower.net import lower

__all__ = ["lower"]
