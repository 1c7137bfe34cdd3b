from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathc.ir import gf2

vectors = st.lists(st.integers(0, 255), max_size=7)


def span(basis):
    elements = {0}
    for vector in basis:
        elements |= {e ^ vector for e in elements}
    return elements


@given(vectors)
def test_echelon_spans_the_same_space_and_is_canonical(vs):
    basis = gf2.echelon(vs)
    assert span(basis) == span(vs)
    assert gf2.echelon(reversed(vs)) == basis
    assert list(basis) == sorted(basis)
    leads = [b.bit_length() - 1 for b in basis]
    for i, b in enumerate(basis):
        assert all(not b >> lead & 1 for j, lead in enumerate(leads) if j != i)
    assert 1 << gf2.rank(vs) == len(span(vs))


@given(vectors)
def test_span_array_of_an_echelon_basis_ascends(vs):
    elements = gf2.span_array(gf2.echelon(vs))
    assert np.all(np.diff(elements) > 0)
    assert set(elements.tolist()) == span(vs)


@given(vectors, st.integers(0, 255))
def test_span_array_is_indexed_by_coefficients(vs, shift):
    elements = gf2.span_array(vs, shift)
    assert [int(e) for e in elements] == [gf2.apply(vs, k) ^ shift for k in range(1 << len(vs))]


@given(vectors)
def test_kernel_is_everything_sent_to_zero(columns):
    null = gf2.kernel(columns)
    assert span(null) == {x for x in range(1 << len(columns)) if gf2.apply(columns, x) == 0}


@given(vectors, st.integers(0, 255))
def test_solve_finds_a_preimage_exactly_when_there_is_one(columns, target):
    solution = gf2.solve(columns, target)
    if solution is None:
        assert target not in span(columns)
    else:
        assert gf2.apply(columns, solution) == target


@given(vectors, vectors)
def test_intersection(left, right):
    assert span(gf2.intersection(left, right)) == span(left) & span(right)


@given(vectors, vectors)
def test_complement_extends_to_the_sum(space, inside):
    chosen = gf2.complement(space, inside)
    assert span((*inside, *chosen)) == span((*inside, *space))
    assert gf2.rank((*inside, *chosen)) == gf2.rank(inside) + len(chosen)


@given(vectors, st.integers(0, 255))
def test_reduce_gives_the_smallest_of_the_coset(vs, vector):
    basis = gf2.echelon(vs)
    assert gf2.reduce(vector, basis) == min(vector ^ e for e in span(vs))
    assert gf2.contains(basis, vector) == (vector in span(vs))


@given(vectors)
def test_coordinates_invert_the_span(vs):
    basis = gf2.complement(vs, ())
    back = gf2.coordinates(basis)
    assert all(gf2.apply(back, gf2.apply(basis, c)) == c for c in range(1 << len(basis)))


def test_coordinates_refuse_dependent_vectors():
    with pytest.raises(ValueError, match="independent"):
        gf2.coordinates((1, 2, 3))


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.integers(0, 2**n - 1), min_size=n, max_size=n)))
def test_inverse(columns):
    back = gf2.inverse(columns)
    identity = tuple(1 << k for k in range(len(columns)))
    if back is None:
        assert gf2.rank(columns) < len(columns)
    else:
        padded = back + (0,) * (len(columns) - len(back))
        assert gf2.compose(columns, padded) == identity
        assert gf2.compose(back, columns) == identity


def test_inverse_of_a_map_that_leaves_its_space():
    assert gf2.inverse((4, 2)) is None


@given(st.lists(st.integers(0, 2**40 - 1), max_size=40), st.integers(0, 2**32))
def test_apply_array_equals_apply(columns, seed):
    xs = np.random.default_rng(seed).integers(0, 2**41, size=17)
    assert gf2.apply_array(columns, xs).tolist() == [gf2.apply(columns, int(x)) for x in xs]


def test_parity():
    assert gf2.parity_array(np.array([0, 1, 3, 7, 1 << 40])).tolist() == [0, 1, 0, 1, 1]


@given(st.integers(0, 1 << 40))
def test_windows_are_aligned_and_cover(count):
    end = 0
    for start, length in gf2.aligned_windows(count):
        assert start == end
        assert start % length == 0
        assert length & (length - 1) == 0
        end = start + length
    assert end == count


def test_windows_of_12288():
    assert gf2.aligned_windows(12288) == ((0, 8192), (8192, 4096))
