"""What plans of one net find out about its junctions is found out once."""

from __future__ import annotations

import numpy as np
import pytest

from pathc import driver
from pathc.backends.llvm.general import windowed
from pathc.backends.llvm.general.edges import coalesce
from pathc.backends.llvm.general.windows import similar_order
from pathc.backends.llvm.row import layouts
from pathc.support.source import Source


def net(units: int, layers: int, count: int) -> Source:
    inner = "".join(f"layer s{i}[{units}] : relu\n" for i in range(1, layers))
    visits = " -> ".join(f"s{i}@{i % 3}" for i in range(layers + 1))
    ends = f"input s0[{units}]\n", f"output s{layers}[{units}]\n"
    return Source("m.path", f"pathc 1\n{ends[0]}{inner}{ends[1]}paths p : {visits} {{ count = {count} }}\n")


def test_edges_are_arranged_once_for_all_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[int]()
    arrange = windowed._arrange

    def counted(edges, machine):
        calls.append(edges.n_dst)
        return arrange(edges, machine)

    monkeypatch.setattr(windowed, "_arrange", counted)
    executable = driver.compile_model(net(100, 3, 500)).executable
    assert executable.row_plan.samples > 1, "one plan for one sample was made before it"
    executable(np.ones((2, 100), np.float32))
    assert len(calls) == 3


def test_equal_pieces_of_chains_are_laid_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts._segment.cache_clear()
    executable = driver.compile_model(net(256, 24, 1024)).executable
    assert executable.row_plan.ops
    info = layouts._segment.cache_info()
    assert info.misses < 3 <= info.hits + info.misses


@pytest.mark.parametrize(("n_src", "n_dst"), [(300, 300), (64, 7), (1, 130), (40, 64), (9, 1000)])
@pytest.mark.parametrize("near", [4, 8])
def test_destinations_stay_within_their_neighbourhood(n_src: int, n_dst: int, near: int) -> None:
    generator = np.random.default_rng(n_src)
    edges = coalesce(n_src, n_dst, generator.integers(0, n_src, 2000), generator.integers(0, n_dst, 2000))
    order = similar_order(edges, 16, near).reshape(-1)
    assert np.array_equal(np.sort(order[order >= 0]), np.arange(n_dst))
    assert np.all(order[n_dst:] == -1)
    places = np.arange(n_dst) // (16 * near)
    assert np.array_equal(order[:n_dst] // (16 * near), places)
