"""Intervals over seeds against scipy, and what pairing must do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from s2l.experiment.statistics import estimate, paired, student

VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


@pytest.mark.parametrize("freedom", [*range(1, 12), 29, 200])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_the_quantile_of_t_is_scipys(freedom, level):
    assert student(freedom, level) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-9)


@given(VALUES)
def test_the_interval_is_scipys(values):
    found = estimate(dict(enumerate(values)), range(len(values)))
    spread = stats.sem(values)
    low, high = (
        (np.mean(values),) * 2 if spread == 0 else stats.t.interval(0.95, len(values) - 1, np.mean(values), spread)
    )
    assert (found.low, found.mean, found.high) == pytest.approx((low, np.mean(values), high), abs=1e-6)


def test_an_interval_by_hand():
    found = estimate({0: 1.0, 1: 2.0, 2: 3.0}, range(3))  # s = 1, t = 4.302653
    assert (found.mean, found.deviation) == (2.0, 1.0)
    assert found.high == pytest.approx(2 + 4.3026527 / 3**0.5)


@given(VALUES, st.floats(-10, 10))
def test_what_both_share_in_a_seed_is_not_in_the_paired_interval(values, gain):
    theirs = dict(enumerate(values))
    found = paired({seed: value + gain for seed, value in theirs.items()}, theirs, range(len(values)))
    assert found.low == pytest.approx(gain, abs=1e-9) == found.high


def test_pairs_are_by_seed_not_by_place():
    assert paired({0: 1.0, 1: 5.0}, {1: 5.0, 0: 1.0}, range(2)).mean == 0


def test_one_seed_has_no_interval():
    found = estimate({3: 1.0}, [3])
    assert found.mean == 1.0 and found.low is None and found.high is None and found.deviation is None


def test_a_missing_seed_is_named_and_not_filled_in():
    found = paired({0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.0, 2: 1.0}, range(4))
    assert (found.seeds, found.missing) == ((0, 2), (1, 3))
    assert found.mean == 1.0


def test_without_any_seed_there_is_nothing():
    assert estimate({}, range(3)) is None
