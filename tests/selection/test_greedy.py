"""Facility location and k-center, against the plain greedy algorithms and the best of all choices."""

import tracemalloc
from itertools import combinations, pairwise
from math import e, inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2l.errors import MachineError
from s2l.selection import greedy
from s2l.selection.greedy import Gains, facility_location, facility_location_bytes, k_center, k_center_bytes
from s2l.selection.unit import UNITS, directions


def made(n, dimensions, seed, kinds=None):
    vectors_ND = np.random.default_rng(seed).normal(size=(kinds or n, dimensions))
    return directions(np.resize(vectors_ND, (n, dimensions)))


def silent(_count):
    pass


def similarity(units_ND):
    """(1 + cos) / 2 in units of 2 u², exact."""
    return UNITS**2 + units_ND.astype(np.int64) @ units_ND.astype(np.int64).T


def covered(units_ND, chosen):
    return int(similarity(units_ND)[:, list(chosen)].max(axis=1).sum())


def plain_facility_location(units_ND, n_rows):
    """What is covered with each row added, all anew at every step; the first of the largest."""
    order, gains = [], []
    while len(order) < n_rows:
        before = covered(units_ND, order) if order else 0
        left = [row for row in range(len(units_ND)) if row not in order]
        gain = [covered(units_ND, [*order, row]) - before for row in left]
        gains.append(max(gain))
        order.append(left[gain.index(gains[-1])])
    return order, gains


def squared_distance(one, other):
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def plain_k_center(units_ND, chosen, n_rows):
    whole = units_ND.astype(int).tolist()
    order, distances = [], []

    def distance(row):
        return min((squared_distance(whole[row], whole[i]) for i in order), default=inf)

    while len(order) < n_rows:
        left = [row for row in range(len(whole)) if row not in order]
        row = chosen[len(order)] if len(order) < len(chosen) else max(left, key=lambda row: (distance(row), -row))
        distances.append(distance(row))
        order.append(row)
    return order, distances


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 9), st.integers(1, 40), st.integers(1, 40))
def test_facility_location_is_the_plain_greedy_one(n, dimensions, seed, kinds, n_rows):
    units_ND, n_rows = made(n, dimensions, seed, min(kinds, n)), min(n_rows, n)
    order_N, gains = facility_location(units_ND, n_rows, silent)
    assert sorted(order_N.tolist()) == list(range(n))
    expected, expected_gains = plain_facility_location(units_ND, n_rows)
    assert order_N[:n_rows].tolist() == expected
    assert gains.tolist() == expected_gains
    assert all(before >= after for before, after in pairwise(gains.tolist()[1:]))


@pytest.mark.parametrize(("kept", "part"), [(0, 1), (300, 1), (2000, 20)])
def test_how_many_similarities_are_kept_changes_nothing(kept, part, monkeypatch):
    units_ND = made(200, 4, 0)
    order_N, gains = facility_location(units_ND, 150, silent)
    monkeypatch.setattr(greedy, "KEPT", kept)
    monkeypatch.setattr(greedy, "PART", part)
    fewer_N, same = facility_location(units_ND, 150, silent)
    assert fewer_N[:150].tolist() == order_N[:150].tolist()
    assert same.tolist() == gains.tolist()


def test_no_more_similarities_are_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(greedy, "KEPT", 2000)
    monkeypatch.setattr(greedy, "PART", 4)
    gains = Gains(made(200, 4, 0), 0)
    for row in range(1, 60):
        gains.of(list(range(row, 200, 7)))
        gains.take(row)
        assert 0 <= gains.room == 2000 - sum(len(rows) for rows, _ in gains.kept.values())
    assert gains.kept


@given(st.integers(3, 8), st.integers(1, 3), st.integers(0, 20), st.integers(1, 3))
def test_facility_location_covers_nearly_as_much_as_the_best_choice(n, dimensions, seed, n_rows):
    units_ND = made(n, dimensions, seed)
    order_N, gains = facility_location(units_ND, n_rows, silent)
    assert gains.sum() == covered(units_ND, order_N[:n_rows])
    best = max(covered(units_ND, chosen) for chosen in combinations(range(n), n_rows))
    assert (1 - 1 / e) * best <= gains.sum() <= best


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 9), st.integers(1, 30), st.data())
def test_k_center_is_the_plain_farthest_first_traversal(n, dimensions, seed, kinds, data):
    units_ND = made(n, dimensions, seed, min(kinds, n))
    chosen = data.draw(st.permutations(range(n)))[: data.draw(st.integers(1, n))]
    n_rows = data.draw(st.integers(len(chosen), n))
    order_N, squared_N = k_center(units_ND, np.array(chosen), n_rows, silent)
    assert sorted(order_N.tolist()) == list(range(n))
    expected, distances = plain_k_center(units_ND, chosen, n_rows)
    assert order_N[:n_rows].tolist() == expected
    assert squared_N[:n_rows].tolist() == distances
    rest = squared_N[n_rows:].tolist()
    assert rest == sorted(rest, reverse=True)
    assert rest[:1] == plain_k_center(units_ND, chosen, min(n_rows + 1, n))[1][n_rows:]


@given(st.integers(4, 8), st.integers(1, 3), st.integers(0, 20), st.integers(1, 3))
def test_k_center_leaves_no_row_twice_as_far_as_the_best_choice_does(n, dimensions, seed, n_rows):
    units_ND = made(n, dimensions, seed)
    _, squared_N = k_center(units_ND, np.array([0]), n_rows, silent)
    whole = units_ND.astype(np.int64)
    apart = np.square(whole[:, None] - whole).sum(axis=2)
    best = min(apart[:, chosen].min(axis=1).max() for chosen in combinations(range(n), n_rows))
    assert squared_N[n_rows] <= 4 * best


def test_rows_all_alike_are_taken_in_the_order_of_their_ids():
    units_ND = np.repeat(made(1, 3, 0), 50, axis=0)
    order_N, gains = facility_location(units_ND, 40, silent)
    assert order_N.tolist() == list(range(50))
    assert not gains[1:].any()
    order_N, squared_N = k_center(units_ND, np.array([7]), 40, silent)
    assert order_N.tolist() == [7, *range(7), *range(8, 50)]
    assert not squared_N[1:].any()


def test_opposite_rows_are_as_far_apart_as_can_be():
    units_ND = directions(np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.9], [-1.0, -1.0, -1.0]]))
    order_N, squared_N = k_center(units_ND, np.array([0]), 2, silent)
    assert order_N.tolist() == [0, 2, 1]
    assert squared_N[1] == 4 * (units_ND[0].astype(np.int64) ** 2).sum()
    order_N, gains = facility_location(units_ND, 2, silent)
    assert order_N.tolist() == [1, 2, 0]
    assert gains.sum() == covered(units_ND, [1, 2])


def test_progress_counts_every_row_once():
    units_ND, counted = made(60, 3, 0), []
    facility_location(units_ND, 20, counted.append)
    k_center(units_ND, np.array([0]), 30, counted.append)
    assert sum(counted) == 50


BUFFERS = 2**18
"""Of numpy itself, of whatever size the arrays are."""


def peak_of(cover):
    tracemalloc.start()
    cover()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_stays_within_the_formula():
    units_ND = made(1000, 8, 0)
    assert peak_of(lambda: facility_location(units_ND, 100, silent)) < facility_location_bytes(1000) + BUFFERS
    units_ND = made(30_000, 2, 0)
    assert peak_of(lambda: k_center(units_ND, np.array([0]), 50, silent)) < k_center_bytes(30_000) + BUFFERS


def test_two_hundred_thousand_rows_fit_within_two_gigabytes():
    directions_of_96 = 4 * 200_000 * 96
    assert facility_location_bytes(200_000) + 2 * directions_of_96 < 2e9
    assert k_center_bytes(200_000) + 2 * directions_of_96 < 2e9


@pytest.mark.parametrize("name", ["facility location", "k-center"])
def test_a_cover_without_room_is_refused_before_it_is_begun(name):
    endless = np.broadcast_to(np.float32(1), (2**48, 2))
    with pytest.raises(MachineError, match=f"no room for {name} of 281,474,976,710,656 rows"):
        if name == "k-center":
            k_center(endless, np.array([0]), 5, silent)
        else:
            facility_location(endless, 5, silent)
