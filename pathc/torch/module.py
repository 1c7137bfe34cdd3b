"""A whole model as a module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

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

    _buffers_of: ClassVar[tuple[str, ...]] = ()
    """Last parts of the names of tensors that no gradient moves."""

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
            # `add_module` refuses names such as `train`, which lines and stations may have
            owner, *path, leaf = name.split(".")
            holder = self._modules.setdefault(owner, torch.nn.Module())
            for step in path:
                holder = None if holder is None else holder._modules.setdefault(step, torch.nn.Module())
            made = torch.tensor(values[name], device=device, dtype=torch.float32)
            if holder is not None and any(name.endswith(f".{part}") for part in self._buffers_of):
                holder.register_buffer(leaf, made)
            elif holder is not None:
                holder.register_parameter(leaf, torch.nn.Parameter(made))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The parameters by name, in the order of weight files."""
        return {name: self._tensor(name) for name in self._shapes}

    def extra_repr(self) -> str:
        """What `print` shows of the model besides its tensors."""
        lines = ", ".join(f"{line.name}: {line.count} paths" for line in self.graph.lines if line.count)
        return f"{self.graph.name}, {self.inputs} -> {self.outputs}{', ' + lines if lines else ''}"

    def _tensor(self, name: str) -> torch.Tensor:
        owner, *path, leaf = name.split(".")
        holder = self._modules[owner]
        for step in path:
            holder = None if holder is None else holder._modules[step]
        return getattr(holder, leaf)
