"""Which rows are looked at."""

import numpy as np
import pytest

from s2l.theory.sample import beside_random, evenly, pairs, plain
from toy_losses import make_ids

IDS = make_ids(60)
CLUSTER = np.repeat(np.arange(5), [1, 2, 7, 20, 30])


@pytest.mark.parametrize(("rows", "of_each"), [(1000, [0, 2, 6, 20, 30]), (24, [0, 2, 6, 8, 8]), (9, [0, 2, 2, 2, 2])])
def test_whole_pairs_are_shared_evenly_over_clusters(rows, of_each):
    picked = pairs(IDS, CLUSTER, rows, seed=0)
    assert np.bincount(CLUSTER[picked], minlength=5).tolist() == of_each
    assert np.all(np.diff(picked) > 0)


def test_samples_go_by_id_and_not_by_order():
    order = np.random.default_rng(0).permutation(60)
    for seed in (0, 1):
        here = set(IDS[pairs(IDS, CLUSTER, 24, seed)])
        assert here == set(IDS[order][pairs(IDS[order], CLUSTER[order], 24, seed)])
        assert set(IDS[plain(IDS, 9, seed, "x")]) == set(IDS[order][plain(IDS[order], 9, seed, "x")])
    assert set(pairs(IDS, CLUSTER, 24, 0)) != set(pairs(IDS, CLUSTER, 24, 1))
    assert set(plain(IDS, 9, 0, "x")) != set(plain(IDS, 9, 0, "y"))


def test_random_subsets_have_the_size_and_nothing_else_of_the_subset():
    kept = np.arange(60) < 12
    subset = beside_random("12", CLUSTER, kept, IDS, draws=400, seed=0)
    assert (subset.drawn_DN.sum(axis=1) == 12).all()
    assert len(np.unique(subset.drawn_DN, axis=0)) == 400
    assert subset.drawn_DN.mean(axis=0) == pytest.approx(np.full(60, 0.2), abs=0.08)
    assert (subset.drawn_DN & kept).sum(axis=1).mean() == pytest.approx(12 * 12 / 60, abs=0.3)


def test_evenly_takes_the_last_and_the_first():
    steps = list(range(10, 130, 10))
    assert evenly(steps, 1) == [120]
    assert evenly(steps, 2) == [10, 120]
    assert evenly(steps, 3) == [10, 70, 120]
    assert evenly(steps, 99) == steps
    assert evenly(range(3), 10) == [0, 1, 2]
    assert evenly(range(100), 3) in ([0, 49, 99], [0, 50, 99])
    assert evenly(range(1), 5) == [0]
