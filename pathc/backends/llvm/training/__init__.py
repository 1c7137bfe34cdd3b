"""Training on the CPU: forward, loss, backward and the optimizer's step in one native call."""

from __future__ import annotations

from pathc.backends.llvm.training.arguments import untrainable
from pathc.backends.llvm.training.optimizers import Adam, Momentum, Optimizer, Sgd
from pathc.backends.llvm.training.tasks import Loss
from pathc.backends.llvm.training.trainer import Saved, StepResult, Trainer

__all__ = ["Adam", "Loss", "Momentum", "Optimizer", "Saved", "Sgd", "StepResult", "Trainer", "untrainable"]
