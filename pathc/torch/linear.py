"""One junction of paths in place of `torch.nn.Linear`."""

from __future__ import annotations

import torch

from pathc import driver
from pathc.ir.graph import Graph
from pathc.support.source import Source
from pathc.torch.base import GraphModule, as_value_errors

_WEIGHT, _BIAS = "main.1", "y.bias"


class PathLinear(GraphModule):
    """A layer of `paths` weights between `in_features` and `out_features` units, [..., in] -> [..., out].

    `weight` is [paths] in the order of the paths, `bias` [out_features] or None. `generator`, `sign` and
    `activation` are spelled as in a `.path` text (`"sobol(scramble = lms, seed = 3)"`, `"halves"`,
    `"leaky(0.1)"`); `dims` are the dimensions of the generator that pick the unit at either end. In a stack of layers
    use (0, 1), (1, 2), ..., as a line through all of them would. The initial magnitude is constant, given by
    the fan-in and fan-out; `seed` matters to random signs only.

    Raises TypeError or ValueError, with the compiler's diagnostic, for arguments that describe no layer.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        paths: int,
        *,
        generator: str = "sobol",
        dims: tuple[int, int] = (0, 1),
        sign: str = "hadamard",
        bias: bool = True,
        activation: str | None = None,
        seed: int = 0,
        compiled: bool = True,
        threads: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        graph = _graph(in_features, out_features, paths, generator, dims, sign, bias, activation)
        with as_value_errors():
            super().__init__(graph, compiled=compiled, threads=threads)
            values = driver.weights_of(graph, None, seed)
        self.in_features, self.out_features, self.paths = in_features, out_features, paths
        self.generator, self.dims, self.activation = generator, dims, activation
        kind = dtype or torch.get_default_dtype()
        self.weight = torch.nn.Parameter(torch.tensor(values[_WEIGHT], dtype=kind, device=device))
        self.bias = torch.nn.Parameter(torch.tensor(values[_BIAS], dtype=kind, device=device)) if bias else None

    def tensors(self) -> dict[str, torch.Tensor]:
        """`weight` and `bias` by the names that weight files use."""
        tensors: dict[str, torch.Tensor] = {_WEIGHT: self.weight}
        if self.bias is not None:
            tensors[_BIAS] = self.bias
        return tensors

    def extra_repr(self) -> str:
        """What `print` shows of the layer."""
        parts = [f"{self.in_features}, {self.out_features}, paths={self.paths}, generator={self.generator!r}"]
        parts += [f"dims={self.dims}, bias={self.bias is not None}"]
        parts += [f"activation={self.activation!r}"] if self.activation else []
        return ", ".join(parts)


def _graph(
    in_features: int,
    out_features: int,
    paths: int,
    generator: str,
    dims: tuple[int, int],
    sign: str,
    bias: bool,
    activation: str | None,
) -> Graph:
    """The graph of a layer, from its text; raises TypeError and ValueError."""
    numbers: dict[str, object] = {"in_features": in_features, "out_features": out_features, "paths": paths}
    numbers.update({f"dims[{k}]": dim for k, dim in enumerate(dims)})
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name} is {number!r}, not an integer")
        if number < (0 if name.startswith("dims") else 1):
            raise ValueError(f"{name} cannot be {number}")
    if len(dims) != 2:
        raise ValueError(f"dims has {len(dims)} entries; one for the inputs and one for the outputs are needed")
    words: dict[str, object] = {"generator": generator, "sign": sign, "activation": activation or ""}
    for name, word in words.items():
        if not isinstance(word, str):
            raise TypeError(f"{name} is a {type(word).__name__}, not a text such as it stands in a .path file")
    stages = [*(["bias"] if bias else []), *([activation] if activation else [])]
    pipeline = f" : {' | '.join(stages)}" if stages else ""
    text = (
        f"pathc 1\nmodel linear\ninput x[{in_features}]\noutput y[{out_features}]{pipeline}\n"
        f"paths main : x@{dims[0]} -> y@{dims[1]} {{ count = {paths}, sequence = {generator}, sign = {sign} }}\n"
    )
    with as_value_errors():
        return driver.transform(driver.load(Source("<PathLinear>", text)))
