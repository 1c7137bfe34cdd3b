"""Training: data, the loop, checkpoints, growth, sweeps.

    from pathc.train import Settings, load_data, train

    result = train(pathc.load("mnist.path"), load_data("mnist.npz"), Settings(epochs=10))

The names below are imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathc.train.data import Dataset, load_data
    from pathc.train.grow import grown_weights
    from pathc.train.loop import Result, Watch, train
    from pathc.train.settings import Settings

_HOME = {
    "Dataset": "data",
    "Result": "loop",
    "Settings": "settings",
    "Watch": "loop",
    "grown_weights": "grow",
    "load_data": "data",
    "train": "loop",
}

__all__ = ["Dataset", "Result", "Settings", "Watch", "grown_weights", "load_data", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
