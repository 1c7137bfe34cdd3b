"""Recurrent nets trained on the CPU: time loops forwards and backwards between feed-forward nets over all steps."""

from __future__ import annotations

from pathc.backends.llvm.recurrent.training.trainer import SequenceTrainer, Steps, without_kernels

__all__ = ["SequenceTrainer", "Steps", "without_kernels"]
