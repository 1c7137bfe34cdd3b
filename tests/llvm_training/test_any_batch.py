"""`forward` and `backward` take any number of samples, and reuse memory of the right size."""

from __future__ import annotations

import numpy as np
import pytest
from training_support import BIAS, chain, drawn, inputs

from pathc.backends.llvm.training import Trainer
from pathc.ir import interp
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError

GRAPH = chain((32, 16, 8), 128, BIAS, Call("tanh"), out=(BIAS,))


def test_batches_beyond_that_of_the_trainer():
    weights = drawn(GRAPH, 1)
    trainer = Trainer(GRAPH, weights, loss="none", batch=64)
    held = []
    for count in (1, 200, 64, 129, 200):
        x = inputs(GRAPH, count, count)
        y, saved = trainer.forward(x)
        np.testing.assert_allclose(y, interp.forward(GRAPH, weights, x), rtol=1e-4, atol=1e-5)
        held.append((x, saved))
    for x, saved in reversed(held):
        dy = np.ones((len(x), 8), np.float32)
        dx, gradients = trainer.backward(saved, dy)
        right_dx, right = interp.backward(GRAPH, weights, x, dy)
        np.testing.assert_allclose(dx, right_dx, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(gradients["main.1"], right["main.1"], rtol=1e-3, atol=1e-3)
        trainer.release(saved)


def test_released_memory_is_used_again_where_it_fits():
    trainer = Trainer(GRAPH, drawn(GRAPH, 1), loss="none", batch=64)
    _, first = trainer.forward(inputs(GRAPH, 200, 1))
    trainer.release(first)
    _, other = trainer.forward(inputs(GRAPH, 3, 1))
    _, second = trainer.forward(inputs(GRAPH, 195, 1))
    assert second.acts is first.acts
    assert other.acts.size < first.acts.size


def test_no_samples_are_refused():
    trainer = Trainer(GRAPH, drawn(GRAPH, 1), loss="none", batch=64)
    with pytest.raises(PathcError, match="n at least 1"):
        trainer.forward(np.zeros((0, 32), np.float32))
