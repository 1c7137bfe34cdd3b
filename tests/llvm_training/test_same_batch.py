"""Batches handed over in the same arrays; windows with frozen tensors; small blocks over several tiles."""

from __future__ import annotations

import numpy as np
import pytest
from training_support import SOFTMAX, chain, cross_entropy, drawn, inputs, outputs

from pathc.backends.llvm.training import Sgd, Trainer
from pathc.support.diagnostics import PathcError

GRAPH = chain((64, 32, 16), 1024, out=(SOFTMAX,))


def test_new_samples_in_the_same_arrays_are_seen() -> None:
    kept, fresh = (Trainer(GRAPH, drawn(GRAPH, 1), optimizer=Sgd(0.1), batch=32) for _ in range(2))
    x, labels = inputs(GRAPH, 32, 0).astype(np.float32), np.arange(32) % 16
    for step in range(4):
        x[:], labels[:] = inputs(GRAPH, 32, step), (np.arange(32) + step) % 16
        assert kept.step(x, labels) == fresh.step(x.copy(), labels.copy())
        kept.evaluate(x[:5], labels[:5])


def test_arrays_that_changed_their_shape_are_refused() -> None:
    trainer = Trainer(GRAPH, drawn(GRAPH, 1), optimizer=Sgd(0.1), batch=32)
    x, labels = np.ascontiguousarray(inputs(GRAPH, 32, 0), np.float32), np.arange(32) % 16
    trainer.step(x, labels)
    x.shape = (64, 32)
    with pytest.raises(PathcError, match="E0702"):
        trainer.step(x, labels)


def test_labels_that_went_wrong_in_place_are_refused() -> None:
    trainer = Trainer(GRAPH, drawn(GRAPH, 1), optimizer=Sgd(0.1), batch=32)
    x, labels = np.ascontiguousarray(inputs(GRAPH, 32, 0), np.float32), np.arange(32) % 16
    trainer.step(x, labels)
    labels[7] = 16
    with pytest.raises(PathcError, match="E0710"):
        trainer.step(x, labels)


def test_frozen_weights_come_back_after_a_window() -> None:
    weights = drawn(GRAPH, 2)
    trainer = Trainer(GRAPH, weights, optimizer=Sgd(0.1), batch=32, frozen=("main.1",))
    x, labels = np.ascontiguousarray(inputs(GRAPH, 32, 0), np.float32), np.arange(32) % 16
    trainer.step(x, labels, window=(256, 1024))
    after = trainer.weights()
    np.testing.assert_array_equal(after["main.1"], weights["main.1"])
    np.testing.assert_array_equal(after["main.2"][:256], weights["main.2"][:256])
    assert (after["main.2"][256:] != weights["main.2"][256:]).any()


@pytest.mark.parametrize("fan", [8, 16, 32])
@pytest.mark.parametrize("batch", [1, 64, 150])
def test_gradients_of_small_blocks(fan: int, batch: int) -> None:
    graph = chain((64, 64, 16), 64 * fan, out=(SOFTMAX,))
    weights = drawn(graph, 3)
    trainer = Trainer(graph, weights, batch=150)
    x, labels = np.ascontiguousarray(inputs(graph, batch, 1), np.float32), np.arange(batch) % outputs(graph)
    loss, wanted = cross_entropy(graph, weights, x, labels)
    found_loss, found = trainer.gradients(x, labels)
    assert found_loss == pytest.approx(loss, rel=1e-4)
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, wanted[name], rtol=2e-4, atol=2e-5, err_msg=name)
