"""Facility location and k-center, against the plain greedy algorithms."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2l.errors import NumericsError
from s2l.selection.greedy import facility_location, k_center
from s2l.selection.unit import UNITS, directions


def made(n, dimensions, seed, kinds=None):
    vectors_ND = np.random.default_rng(seed).normal(size=(kinds or n, dimensions))
    return directions(np.resize(vectors_ND, (n, dimensions)))


def silent(_count):
    pass


def plain_facility_location(units_ND, n_rows):
    """Every gain anew at every step, in exact integers."""
    similar = (2**22 + units_ND.astype(np.int64) @ units_ND.astype(np.int64).T).clip(0)
    best, order, gains = np.zeros(len(similar), dtype=np.int64), [], []
    for _ in range(n_rows):
        gain = np.maximum(similar - best[:, None], 0).sum(axis=0)
        gain[order] = -1
        order.append(int(gain.argmax()))
        gains.append(int(gain.max()))
        best = np.maximum(best, similar[:, order[-1]])
    return order, gains


def plain_k_center(units_ND, first, n_rows):
    whole = units_ND.astype(np.int64)
    order, distances = [first], []
    while len(order) < n_rows:
        nearest = np.array([min(((row - whole[i]) ** 2).sum() for i in order) for row in whole])
        nearest[order] = -1
        order.append(int(nearest.argmax()))
        distances.append(int(nearest.max()))
    return order, distances


@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 9), st.integers(1, 60))
def test_facility_location_is_the_plain_greedy_one(n, dimensions, seed, kinds):
    units_ND = made(n, dimensions, seed, min(kinds, n))
    order_N, gains = facility_location(units_ND, n // 2, silent)
    assert sorted(order_N.tolist()) == list(range(n))
    expected, expected_gains = plain_facility_location(units_ND, n // 2)
    assert order_N[: n // 2].tolist() == expected
    assert gains.tolist() == expected_gains
    assert all(before >= after for before, after in pairwise(gains.tolist()))


@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 9), st.integers(1, 40))
def test_k_center_is_the_plain_farthest_first_traversal(n, dimensions, seed, kinds):
    units_ND = made(n, dimensions, seed, min(kinds, n))
    order_N, squared = k_center(units_ND, n // 3, n // 2 + 1, silent)
    assert sorted(order_N.tolist()) == list(range(n))
    expected, distances = plain_k_center(units_ND, n // 3, n // 2 + 1)
    assert order_N[: n // 2 + 1].tolist() == expected
    assert squared[1:].tolist() == distances


def test_products_of_directions_are_whole_numbers_in_any_order():
    units_ND = made(300, 512, 0)
    exact = units_ND.astype(np.int64) @ units_ND.astype(np.int64).T
    shuffled = np.random.default_rng(1).permutation(512)
    assert np.array_equal(units_ND @ units_ND.T, exact)
    assert np.array_equal(units_ND[:, shuffled] @ units_ND[:, shuffled].T, exact)
    assert np.abs(np.sqrt(np.diag(exact)) / UNITS - 1).max() < 0.01


def test_a_vector_of_zeros_has_no_direction_and_one_that_is_not_finite_is_an_error():
    assert directions(np.zeros((2, 3), dtype=np.float32)).tolist() == [[0, 0, 0]] * 2
    with pytest.raises(NumericsError):
        directions(np.array([[np.nan, 1.0]]))
