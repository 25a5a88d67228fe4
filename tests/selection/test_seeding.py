"""k-means++ as a race: sampled by squared distance, distinct, steady, and the same as the formula written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from s2l.selection import keyed
from s2l.selection.grid import RESOLUTION, to_grid
from s2l.selection.seeding import fastest, seed_rows
from toy_losses import decaying, make_ids

GRID_ROWS = hnp.arrays(np.float64, st.tuples(st.integers(4, 40), st.integers(1, 4)), elements=st.integers(0, 6))


def naive_seeds(grid_ND, ids, n_clusters, seed):
    keys_N = keyed.keys(seed, "kmeans", ids)
    squared_N, rows = np.ones(len(ids)), []
    while len(rows) < n_clusters and squared_N.any():
        waits_N = -np.log(keyed.uniform(keyed.rounds(keys_N, len(rows))))
        rows.append(int(np.divide(waits_N, squared_N, out=np.full(len(ids), np.inf), where=squared_N > 0).argmin()))
        squared_N = np.square(grid_ND[:, None] - grid_ND[rows]).sum(axis=2).min(axis=1)
    return rows


def test_seeds_are_sampled_by_squared_distance():
    points = to_grid(np.array([[0.0], [1.0], [3.0]]), make_ids(3))
    draws = [tuple(seed_rows(points, make_ids(3), 2, seed).tolist()) for seed in range(3000)]
    for first, odds in {0: (0, 1, 9), 1: (1, 0, 4), 2: (9, 4, 0)}.items():
        seconds = [second for start, second in draws if start == first]
        assert len(seconds) == pytest.approx(1000, abs=110)
        for second, odd in enumerate(odds):
            assert seconds.count(second) / len(seconds) == pytest.approx(odd / sum(odds), abs=0.05)


@settings(max_examples=30)
@given(GRID_ROWS, st.integers(0, 5))
def test_seeds_are_distinct_and_as_many_as_distinct_rows(grid_ND, seed):
    ids = make_ids(len(grid_ND))
    rows = seed_rows(to_grid(grid_ND, ids), ids, len(grid_ND), seed)
    assert len(rows) == len(np.unique(grid_ND, axis=0)) == len(np.unique(grid_ND[rows], axis=0))


@settings(max_examples=30)
@given(GRID_ROWS, st.integers(0, 5))
def test_seeds_of_few_and_tied_rows_are_those_of_the_formula(grid_ND, seed):
    ids = make_ids(len(grid_ND))
    assert seed_rows(to_grid(grid_ND, ids), ids, 9, seed).tolist() == naive_seeds(grid_ND, ids, 9, seed)


@pytest.mark.parametrize("seed", range(3))
def test_seeds_of_many_rows_are_those_of_the_formula(seed):
    losses_NT, ids = decaying(20_000), make_ids(20_000)
    points = to_grid(losses_NT, ids)
    grid_ND = np.rint(losses_NT / RESOLUTION) - points.origin_D
    assert seed_rows(points, ids, 50, seed).tolist() == naive_seeds(grid_ND, ids, 50, seed)


@given(hnp.arrays(np.uint64, 20), hnp.arrays(np.float64, 20, elements=st.integers(0, 3)))
def test_few_logarithms_find_the_fastest_of_all(keys_n, squared_n):
    waits_n = np.full(20, np.inf)
    np.divide(-np.log(keyed.uniform(keys_n)), squared_n, out=waits_n, where=squared_n > 0)
    wait, row = fastest(keys_n, squared_n)
    assert wait == waits_n.min()
    if wait < np.inf:
        assert row == waits_n.argmin()


def test_a_little_noise_keeps_the_seeds():
    losses_NT, ids = decaying(5000), make_ids(5000)
    noisy_NT = losses_NT + np.random.default_rng(1).normal(0, 1e-3, losses_NT.shape)
    rows, again = (set(seed_rows(to_grid(x, ids), ids, 50, 0).tolist()) for x in (losses_NT, noisy_NT))
    assert len(rows & again) >= 45
