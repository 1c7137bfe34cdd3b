"""Path graphs as PyTorch modules: compiled forward and backward passes under autograd.

    from pathc.torch import PathLinear, PathModule

    layer = PathLinear(784, 300, 4096, activation="relu")      # in place of torch.nn.Linear
    model = PathModule("classifier.path", "classifier.safetensors")
    model = FilterModule("lenet.path")                         # convolutions, in PyTorch's own operations
    graph, weights = from_module(trained, example)             # linear layers, convolutions and recurrent cells

float32 on the CPU is compiled. Everything else is computed too, through PyTorch's own operations, with a
`FallbackWarning` that says what it costs.
"""

from __future__ import annotations

try:
    import torch as _torch
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    raise ModuleNotFoundError(
        "pathc.torch needs PyTorch, which is not installed: pip install 'pathc[torch]'", name="torch"
    ) from missing

from pathc.torch.bring import from_module
from pathc.torch.fallback import FallbackWarning
from pathc.torch.filters import FilterModule
from pathc.torch.linear import PathLinear
from pathc.torch.module import PathModule

if tuple(int(part) for part in _torch.__version__.split(".")[:2]) < (2, 4):
    raise ImportError(f"pathc.torch needs PyTorch 2.4 or newer, not {_torch.__version__}")

__all__ = ["FallbackWarning", "FilterModule", "PathLinear", "PathModule", "from_module"]
