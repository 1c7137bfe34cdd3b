"""MKL's inspector and executor: what is inspected, and how often."""

from __future__ import annotations

import gc
from collections import Counter

import numpy as np
import pytest

from pathc.bench import mkl
from pathc.bench.network import Edges
from pathc.bench.peers import PEERS


class Library:
    """Counts calls in place of MKL, and gives `status`."""

    def __init__(self, status: int = 0) -> None:
        self.calls, self.status = Counter[str](), status

    def __getattr__(self, name: str):
        def called(*_: object) -> int:
            self.calls[name.removeprefix("mkl_sparse_")] += 1
            return self.status

        return called


def edges(count: int = 9, shape: tuple[int, int] = (5, 4)) -> Edges:
    rng = np.random.default_rng(count)
    dst, src = np.divmod(rng.permutation(shape[0] * shape[1])[:count], shape[1])
    return Edges(src, dst, rng.normal(size=count).astype(np.float32), shape)


def test_a_matrix_is_inspected_once_for_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(mkl, "library", lambda: library)
    step, x = PEERS["mkl"].step(edges()), np.ones((4, 3), np.float32)
    for values in (x, x, x.copy(), x):
        assert step(values).shape == (5, 3)
    assert library.calls == {"s_create_csr": 1, "set_mm_hint": 1, "optimize": 1, "s_mm": 4}
    for _ in range(2):
        assert step(x[:, 0].copy()).shape == (5,)
    assert library.calls["s_create_csr"] == library.calls["optimize"] == 2
    assert (library.calls["set_mv_hint"], library.calls["s_mv"], library.calls["destroy"]) == (1, 2, 1)
    del step
    gc.collect()
    assert library.calls["destroy"] == 2


@pytest.mark.parametrize(("status", "raised"), [(2, MemoryError), (3, RuntimeError)])
def test_what_mkl_refuses(status: int, raised: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mkl, "library", lambda: Library(status))
    with pytest.raises(raised):
        PEERS["mkl"].step(edges())(np.ones((4, 3), np.float32))


def test_where_mkl_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent():
        raise OSError("libmkl_rt.so: no such file")

    monkeypatch.setattr(mkl, "library", absent)
    assert "pip install mkl " in PEERS["mkl"].missing()


@pytest.mark.skipif(bool(PEERS["mkl"].missing()), reason="needs MKL: pip install mkl")
@pytest.mark.parametrize("count", [0, 9, 20])
def test_products(count: int) -> None:
    given = edges(count)
    dense = np.zeros(given.shape)
    dense[given.dst, given.src] = given.weight
    step = PEERS["mkl"].step(given)
    for shape in ((4,), (4, 1), (4, 2), (4, 17), (4,)):
        x = np.random.default_rng(count).normal(size=shape).astype(np.float32)
        for values in (x, x, 2 * x, np.asfortranarray(x)):
            np.testing.assert_allclose(step(values), dense @ values, rtol=1e-5, atol=1e-6)
