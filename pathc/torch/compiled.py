"""The compiled kernels as one operation of autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pathc.torch.engine import Array, Engine

Watch = Callable[[dict[str, Array]], None]
"""Is told mean and variance of the batch by tensor."""


class CompiledNet(torch.autograd.Function):
    """Outputs of a graph for float32 inputs [n, inputs] on the CPU: `apply(engine, names, frozen, watch, x, *weights)`.

    With a `watch`, normalizations go by the batch, and it is told their statistics.
    """

    @staticmethod
    def forward(
        ctx: Any,
        engine: Engine,
        names: tuple[str, ...],
        frozen: frozenset[str],
        watch: Watch | None,
        x: torch.Tensor,
        *weights: torch.Tensor,
    ) -> torch.Tensor:
        """Run forwards; weights are saved as tensors, so that PyTorch notices if they change before `backward`."""
        arrays = dict(zip(names, map(_array, weights), strict=True))
        y, lease = engine.forward(_array(x), arrays, frozen, by_batch=watch is not None)
        if watch is not None and lease is not None:
            watch(lease.statistics())
        ctx.engine, ctx.names, ctx.lease, ctx.inputs = engine, names, lease, x.shape[1]
        ctx.save_for_backward(*weights)
        return torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of what asks for one; RuntimeError if they are to be differentiated again."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the compiled kernels have no second derivatives, which create_graph=True prepares for: "
                "make the module with compiled=False"
            )
        (dy,) = grad_outputs
        saved: tuple[torch.Tensor, ...] = ctx.saved_tensors
        wanted: tuple[bool, ...] = ctx.needs_input_grad[4:]
        if ctx.lease is None:
            none = torch.zeros(0, ctx.inputs)
            empty = (torch.zeros_like(tensor) for tensor in saved)
            return (None, None, None, None, *_wanted((none, *empty), wanted))
        weights = dict(zip(ctx.names, map(_array, saved), strict=True))
        dx, gradients = ctx.engine.backward(ctx.lease, _array(dy), weights, inputs=wanted[0])
        tensors = (torch.from_numpy(gradients[name]) if name in gradients else None for name in ctx.names)
        return (None, None, None, None, *_wanted((torch.from_numpy(dx), *tensors), wanted))


def _wanted(gradients: tuple[torch.Tensor | None, ...], wanted: tuple[bool, ...]) -> tuple[torch.Tensor | None, ...]:
    return tuple(g if needed else None for g, needed in zip(gradients, wanted, strict=True))


def _array(tensor: torch.Tensor) -> Array:
    """The memory of a tensor; a copy only where it is no plain memory, as that of a negated view."""
    return tensor.numpy(force=True)
