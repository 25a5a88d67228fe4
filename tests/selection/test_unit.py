"""Directions on the grid: whole numbers, whose products are exact in any order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2l.errors import MachineError, NumericsError
from s2l.selection.unit import LARGEST, UNITS, directions

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False, width=32)


def vectors(dimensions):
    return st.lists(st.lists(NUMBERS, min_size=dimensions, max_size=dimensions), min_size=1, max_size=12)


@given(st.integers(1, 5).flatmap(vectors))
def test_a_direction_is_the_vector_over_its_norm_rounded_to_the_grid(rows):
    vectors_ND = np.array(rows, dtype=np.float32)
    for unit_D, vector_D in zip(directions(vectors_ND), vectors_ND.tolist(), strict=True):
        norm = sum(x * x for x in vector_D) ** 0.5
        exact = [x / norm * 2048 if norm else 0 for x in vector_D]
        assert np.abs(unit_D - exact).max() <= 0.5 + 1e-9
        assert unit_D.tolist() == [round(x) for x in unit_D.tolist()]


@given(st.integers(1, 5).flatmap(vectors), st.integers(-20, 20))
def test_neither_length_nor_the_other_rows_change_a_direction(rows, exponent):
    vectors_ND = np.array(rows, dtype=np.float32)
    whole = directions(vectors_ND)
    assert np.array_equal(directions(vectors_ND.astype(np.float64) * 2.0**exponent), whole)
    assert np.array_equal(np.concatenate([directions(vectors_ND[i : i + 1]) for i in range(len(rows))]), whole)


def test_more_rows_than_are_taken_at_once_are_all_done():
    vectors_ND = np.random.default_rng(0).normal(size=(8195, 2))
    assert np.array_equal(directions(vectors_ND)[-4:], directions(vectors_ND[-4:]))


def test_products_of_directions_are_whole_numbers_in_any_order():
    units_ND = directions(np.random.default_rng(0).normal(size=(300, 512)))
    exact = units_ND.astype(np.int64) @ units_ND.astype(np.int64).T
    shuffled = np.random.default_rng(1).permutation(512)
    assert np.array_equal(units_ND @ units_ND.T, exact)
    assert np.array_equal(units_ND[:, shuffled] @ units_ND[:, shuffled].T, exact)
    assert np.abs(np.sqrt(np.diag(exact)) / UNITS - 1).max() < 0.01


def test_no_product_leaves_the_whole_numbers_of_float32_in_the_most_dimensions():
    rounded_up = np.full((1, LARGEST), 0.5 / UNITS + 1e-9)
    rounded_up[0, 0] = np.sqrt(1 - np.square(rounded_up[0, 1:]).sum())
    (unit_D,) = directions(rounded_up).astype(np.int64)
    assert (unit_D[1:] == 1).all()
    assert UNITS**2 < unit_D @ unit_D < 2**23


def test_a_vector_of_zeros_has_no_direction():
    assert directions(np.zeros((2, 3), dtype=np.float32)).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_an_error(broken):
    with pytest.raises(NumericsError):
        directions(np.array([[1.0, 1.0], [broken, 1.0]]))


def test_directions_that_do_not_fit_are_refused_before_they_are_made():
    endless = np.broadcast_to(np.float32(1), (2**50, 4))
    with pytest.raises(MachineError, match=r"no room for directions in 4 dimensions of 1,125,899,906,842,624 rows"):
        directions(endless)
