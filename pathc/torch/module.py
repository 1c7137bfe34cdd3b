"""A whole model as a module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from pathc import driver
from pathc.frontend.builder import Model
from pathc.ir.graph import Graph
from pathc.support.source import Source
from pathc.torch.base import GraphModule


class PathModule(GraphModule):
    """A model whose parameters are called as in weight files: `main.1` [paths], `h1.bias` [units], and so on.

    `model` is the name of a `.path` or `.pir` file, a text in memory, a graph or a `pathc.Model`; `weights` a
    `.safetensors` or `.npz` file or arrays by name, initial weights of `seed` if None; `overrides` gives `let`s other
    values. Parameters are float32. Inputs are [..., units] with several input stations side by side, and so are
    outputs. An output that ends in softmax gives probabilities: take `torch.nn.NLLLoss` of their logarithm, or
    leave the softmax out and take `torch.nn.CrossEntropyLoss`.

    Raises PathcError for what is wrong with model, weights or files, as `pathc.compile` does.
    """

    def __init__(
        self,
        model: str | Path | Source | Graph | Model,
        weights: str | Path | Mapping[str, NDArray[Any]] | None = None,
        *,
        overrides: Mapping[str, Any] | None = None,
        seed: int = 0,
        compiled: bool = True,
        threads: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        texts = {name: str(value) for name, value in overrides.items()} if overrides else None
        super().__init__(driver.transform(driver.load(model, texts)), compiled=compiled, threads=threads)
        values = driver.weights_of(self.graph, weights, seed)
        for name in self._shapes:
            owner, leaf = name.rsplit(".", 1)
            # `add_module` refuses names such as `train`, which lines and stations may have
            holder = self._modules.setdefault(owner, torch.nn.Module())
            parameter = torch.nn.Parameter(torch.tensor(values[name], device=device, dtype=torch.float32))
            if holder is not None:
                holder.register_parameter(leaf, parameter)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The parameters by name, in the order of weight files."""
        return {name: self._tensor(name) for name in self._shapes}

    def extra_repr(self) -> str:
        """What `print` shows of the model besides its tensors."""
        lines = ", ".join(f"{line.name}: {line.count} paths" for line in self.graph.lines if line.count)
        return f"{self.graph.name}, {self.inputs} -> {self.outputs}{', ' + lines if lines else ''}"

    def _tensor(self, name: str) -> torch.Tensor:
        owner, leaf = name.rsplit(".", 1)
        return getattr(self._modules[owner], leaf)
