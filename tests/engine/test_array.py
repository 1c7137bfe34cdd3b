"""The weight-stationary array and the linear array: values, cycles, tiles, and the choice between lanes and array."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_nets import chain, quantized, rich
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.backends.engine.array import grouped, multiply, multiply_band, tile_cycles, tiling_of
from pathc.backends.engine.array.choice import Choice, as_text, choices, simulated, tiling_in
from pathc.backends.engine.lower.stations import plan_of
from pathc.backends.engine.machine import Machine
from pathc.ir.generators.sobol import Sobol
from pathc.ir.quantized import IntegerNetwork, integer_network
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError

Int64 = np.ndarray


def dense(weights: Int64, dim: int):
    """Tiles of a matrix [destinations, sources] in natural order."""
    destinations, sources = (index.reshape(-1) for index in np.indices(weights.shape))
    orders = np.arange(weights.shape[1]), np.arange(weights.shape[0])
    return tiling_of(sources, destinations, weights.reshape(-1), orders, dim)


@pytest.mark.parametrize(
    ("samples", "outputs", "inputs", "dim", "cycles"),
    [(1, 256, 256, 16, 12_031), (16, 256, 256, 16, 15_871), (64, 256, 256, 16, 28_159), (1, 1024, 1024, 16, 192_511),
     (64, 16, 16, 16, 109)],
)  # fmt: skip
def test_cycles_are_those_of_scale_sim(samples: int, outputs: int, inputs: int, dim: int, cycles: int) -> None:
    tiles = -(-outputs // dim) * -(-inputs // dim)
    assert tile_cycles(tiles, dim, samples) == cycles
    if inputs <= 256:
        rng = np.random.default_rng(0)
        weights, values = rng.integers(-128, 128, (outputs, inputs)), rng.integers(0, 256, (samples, inputs))
        found = multiply(dense(weights, dim), values)
        assert found.cycles == cycles
        assert np.array_equal(found.sums, values @ weights.T)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 7), st.sampled_from([1, 2, 4, 5]), st.integers(1, 3),
       st.integers(0, 99))  # fmt: skip
def test_any_matrix_of_any_density(inputs: int, outputs: int, samples: int, dim: int, interval: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (outputs, inputs)) * (rng.random((outputs, inputs)) < rng.random())
    values = rng.integers(-128, 128, (samples, inputs))
    destinations, sources = np.nonzero(weights)
    orders = rng.permutation(inputs), rng.permutation(outputs)
    tiling = tiling_of(sources, destinations, weights[destinations, sources], orders, dim)
    found = multiply(tiling, values, interval)
    assert np.array_equal(found.sums, values @ weights.T)
    assert found.cycles == (tile_cycles(len(tiling), dim, samples, interval) if len(tiling) else -1)
    assert len(tiling) <= tiling.total


@pytest.mark.parametrize(("groups", "size", "tiles"), [(4, 16, 4), (8, 4, 2), (3, 6, 3), (2, 32, 8)])
def test_a_grouped_recurrence_takes_the_tiles_of_its_groups(groups: int, size: int, tiles: int) -> None:
    rng = np.random.default_rng(1)
    weights = rng.integers(-9, 10, (groups, size, size)) | 1
    values = rng.integers(-128, 128, (3, groups * size))
    tiling = grouped(weights, 16 if size != 6 else 8)
    assert len(tiling) == tiles
    whole = np.zeros((groups * size, groups * size), np.int64)
    for group in range(groups):
        own = slice(group * size, (group + 1) * size)
        whole[own, own] = weights[group]
    assert np.array_equal(multiply(tiling, values).sums, values @ whole.T)


@pytest.mark.parametrize(
    ("dims", "paths", "tiles"),
    [((1, 2), 256, 16), ((1, 2), 1024, 64), ((1, 2), 2048, 128), ((1, 2), 4096, 256), ((0, 1), 256, 16),
     ((0, 1), 4096, 16)],
)  # fmt: skip
def test_in_bank_major_order_a_path_fills_a_tile_with_its_neighbours(
    dims: tuple[int, int], paths: int, tiles: int
) -> None:
    """256 to 256 units in tiles of 16 x 16: the low bits of a unit are its row, the high bits its bank."""
    sobol = Sobol(dims, (256, 256), paths)
    sources, destinations = sobol.units(0, 0, paths), sobol.units(1, 0, paths)
    order = (np.arange(16)[None, :] * 16 + np.arange(16)[:, None]).reshape(-1)
    tiling = tiling_of(sources, destinations, np.ones(paths, np.int64), (order, order), 16)
    assert (len(tiling), tiling.total) == (tiles, 256)


def test_weights_beyond_8_bits_take_more_tiles() -> None:
    weights = np.array([[300, -128], [127, 0]])
    tiling = dense(weights, 2)
    assert len(tiling) == 3
    assert abs(tiling.weights).max() <= 128
    values = np.array([[3, -5], [7, 100]])
    assert np.array_equal(multiply(tiling, values).sums, values @ weights.T)


def test_the_band_of_kung_and_leiserson() -> None:
    rng = np.random.default_rng(2)
    distance = np.subtract.outer(np.arange(400), np.arange(400))
    matrix = np.where(abs(distance) <= 4, rng.integers(-9, 10, (400, 400)), 0)
    values = rng.integers(-128, 128, 400)
    found = multiply_band(matrix, values, 4, 4)
    assert (found.multiplications, found.bound) == (3580, 809)
    assert found.cycles <= found.bound
    assert np.array_equal(found.sums, matrix @ values)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(0, 19), st.integers(0, 19), st.integers(0, 99))
def test_bands_of_any_shape(size: int, lower: int, upper: int, seed: int) -> None:
    lower, upper = min(lower, size - 1), min(upper, size - 1)
    rng = np.random.default_rng(seed)
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    inside = (distance <= lower) & (distance >= -upper)
    matrix, values = np.where(inside, rng.integers(-9, 10, (size, size)), 0), rng.integers(-9, 10, size)
    found = multiply_band(matrix, values, lower, upper)
    assert np.array_equal(found.sums, matrix @ values)
    assert found.multiplications == inside.sum()
    assert found.cycles <= found.bound


def test_what_is_no_band_is_refused() -> None:
    for matrix, lower, upper in ((np.ones((3, 3), np.int64), 1, 1), (np.ones((3, 2), np.int64), 1, 1),
                                 (np.zeros((3, 3), np.int64), 3, 0)):  # fmt: skip
        with pytest.raises(PathcError, match="E1070"):
            multiply_band(matrix, np.ones(3, np.int64), lower, upper)


def network(seed: int, *sizes: int, count: int = 0) -> IntegerNetwork:
    graph = chain(count, *sizes) if count else rich(Call("relu"))
    return integer_network(*quantized(graph, seed))


def inputs(net: IntegerNetwork, samples: int) -> dict[str, Int64]:
    rng = np.random.default_rng(3)
    found: dict[str, Int64] = {}
    for each in net.graph.inputs:
        drawn = rng.integers(-100, 100, (samples, each.real_units))
        found[each.name] = np.pad(drawn, ((0, 0), (0, each.units - each.real_units)))
    return found


NETS = [
    ((256, 64, 32, 16), 1024), ((256, 64, 32, 16), 8192), ((64, 64, 64), 4096), ((128, 128, 16), 512),
    ((100, 30, 20, 10), 300), ((64, 16), 1024), ((256, 256), 256),
]  # fmt: skip


@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize(("sizes", "count"), NETS)
def test_the_choice_is_the_better_one_in_simulation(sizes: tuple[int, ...], count: int, samples: int) -> None:
    machine = Machine(lanes=16, dim=16)
    found = simulated(net := network(1, *sizes, count=count), machine, inputs(net, samples))
    for each in found:
        assert each.array_simulated == each.array
        assert each.regret == 1.0, each


def test_both_are_taken_somewhere() -> None:
    machine = Machine(lanes=16, dim=16)
    taken = {each.taken for sizes, count in NETS for each in choices(network(1, *sizes, count=count), machine, 64)}
    taken |= {each.taken for each in choices(network(1, 256, 256, count=64), machine, 1)}
    assert taken == {"lanes", "array"}


def test_regret_sees_a_wrong_choice() -> None:
    wrong = Choice("main.1", 1, 10, 20, 1, 1, lanes_simulated=30, array_simulated=20)
    assert (wrong.taken, wrong.regret) == ("lanes", 1.5)
    assert "regret 1.50" in as_text([wrong], Machine(dim=16))


def test_a_rich_net_and_a_machine_without_array() -> None:
    net = network(2)
    found = simulated(net, Machine(lanes=8, dim=4), inputs(net, 2))
    assert [each.name for each in found] == [each.name for each in choices(net, Machine(lanes=8, dim=4), 2)]
    assert all(each.array is None and each.taken == "lanes" for each in choices(net, Machine(lanes=8)))


def test_tiles_lie_as_the_lanes_have_them() -> None:
    net, machine = network(1, 256, 256, count=1024), Machine(lanes=16, dim=16)
    (one,) = net.into["s1"]
    assert len(tiling_in(one, 256, plan_of(net, machine), 16)) == 16
    assert replace(machine, dim=0).dim == 0
