"""The examples: correct, laid out, computed, and as accurate as they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pathc
from pathc.driver import formatted, read_source
from pathc.ir.inputs import input_shape
from pathc.ir.sequences import takes_sequences
from pathc.support.diagnostics import Severity

FOLDER = Path(__file__).parent.parent / "examples"
FILES = sorted(FOLDER.glob("*.path"))
MODELS = [path for path in FILES if path.name != "targets.path"]
SMALLER = {"vctk.path": {"T": 8, "H": 64, "C": 21}}
"""Lets of models that would keep the interpreter busy."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_begins_with_what_it_shows_and_is_laid_out(path: Path) -> None:
    assert path.read_text().startswith("# Shows ")
    assert formatted(read_source(path)) == path.read_text()


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_is_correct(path: Path) -> None:
    found = pathc.check(path)
    assert [d.code for d in found if d.severity is Severity.ERROR] == []


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_computes_what_the_reference_computes(path: Path) -> None:
    graph = pathc.load(path, SMALLER.get(path.name, {}))
    net, reference = pathc.compile(graph), pathc.compile(graph, "reference")
    sample = input_shape(graph)
    shape = (3, 5, *sample) if takes_sequences(graph) else (3, *sample)
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    np.testing.assert_allclose(net(x), reference(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", ["llvm", "single", "oracle"])
def test_targets_of_another_file(target: str) -> None:
    net = pathc.compile(FOLDER / "with_targets.path", target)
    assert net(np.ones(256, np.float32)).shape == (16,)


def test_digits_are_read() -> None:
    digits = np.load(FOLDER / "digits.npz")
    assert {name: digits[name].shape for name in digits.files} == {
        "x_train": (1437, 64), "y_train": (1437,), "x_test": (360, 64), "y_test": (360,),
    }  # fmt: skip
    assert all(digits[name].dtype == np.uint8 for name in digits.files)
    net = pathc.compile(FOLDER / "digits.path", weights=FOLDER / "digits.safetensors")
    assert (net(digits["x_test"]).argmax(axis=1) == digits["y_test"]).mean() >= 0.96
