"""Rank correlations of trajectories: against scipy, and on trajectories that are known."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from s2l.theory.correlation import correlation, matched, ranks, spearman
from toy_losses import decaying, make_ids

STEPS = (10, 20, 30, 40, 50, 60)


def test_ranks_and_spearman_are_those_of_scipy_with_ties_too():
    rng = np.random.default_rng(0)
    for high in (3, 10, 10**6):
        a, b = rng.integers(0, high, (2, 50)).astype(float)
        b += 0.3 * a
        np.testing.assert_allclose(ranks(a), rankdata(a))
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(spearman(np.ones(5), np.arange(5.0)))


def test_checkpoints_are_matched_by_their_share_of_the_training():
    assert matched((10, 20, 30, 40), (100, 200)) == [(1, 0), (3, 1)]
    assert matched((100, 200), (10, 20, 30, 40)) == [(0, 1), (1, 3)]
    assert matched((0, 33, 66, 100), (2, 7)) == [(1, 0), (3, 1)]
    assert matched((10, 20), (7, 8)) == [(1, 1)]
    assert matched((25, 50, 75, 100), (30, 37, 100)) == [(0, 0), (3, 2)], "of two, the nearer"


def test_the_same_order_of_rows_is_a_correlation_of_1():
    losses = decaying(60, spread=0.5)
    found = correlation(losses, STEPS, np.square(losses), (1, 2, 3, 4, 5, 6), make_ids(60), seed=0)
    assert [at.correlation for at in found.checkpoints] == pytest.approx([1.0] * 6)
    assert [(at.proxy_step, at.target_step) for at in found.checkpoints] == list(zip(STEPS, range(1, 7), strict=True))
    assert "harder for the target" in found.checkpoints[0].sentence
    assert found.over_time.mean == pytest.approx(1)
    assert found.over_time.quantiles == pytest.approx((1,) * 5)
    assert found.over_time.others < 1 - 0.001
    assert "its own in the target better than by another" in found.over_time.sentence


def test_a_target_of_its_own_mind_is_told_so():
    found = correlation(decaying(80, spread=0.5), STEPS, decaying(80, seed=9, spread=0.5), STEPS, make_ids(80), seed=0)
    low, high = found.checkpoints[0].interval
    assert low < 0 < high
    assert "does not tell" in found.checkpoints[0].sentence
    low, high = found.over_time.interval
    assert low < 0 < high
    assert "no better than" in found.over_time.sentence


def test_losses_that_all_fall_correlate_over_time_with_those_of_any_row():
    smooth = decaying(50, noise=0.0, spread=0.5)
    found = correlation(smooth, STEPS, smooth, STEPS, make_ids(50), seed=0)
    assert found.over_time.others == pytest.approx(1)
    assert "no better than" in found.over_time.sentence


def test_rows_that_stand_still_are_counted_and_row_order_does_not_matter():
    losses, target = decaying(40, spread=0.5), decaying(40, seed=1, spread=0.5)
    losses[3] = 0.5
    ids, order = make_ids(40), np.random.default_rng(0).permutation(40)
    first = correlation(losses, STEPS, target, STEPS, ids, seed=2)
    second = correlation(losses[order], STEPS, target[order], STEPS, ids[order], seed=2)
    assert (first.over_time.rows, first.over_time.flat) == (39, 1)
    assert second.over_time.mean == pytest.approx(first.over_time.mean)
    assert second.over_time.others == pytest.approx(first.over_time.others)


def test_two_checkpoints_say_nothing_over_time():
    losses = decaying(20, checkpoints=2, spread=0.5)
    assert correlation(losses, (1, 2), losses, (5, 10), make_ids(20), seed=0).over_time is None
