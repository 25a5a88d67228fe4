"""Intervals: against tables, and by how often they hold what they should."""

import numpy as np
import pytest

from s2l.theory.intervals import middle, of_mean, of_next, of_rank_correlation, resampled, student


@pytest.mark.parametrize(("freedom", "point"), [(5, 2.5706), (10, 2.2281), (19, 2.0930), (30, 2.0423), (1000, 1.9623)])
def test_students_t_is_that_of_the_table(freedom, point):
    assert student(freedom) == pytest.approx(point, rel=2e-3)


def test_the_next_draw_falls_inside_19_times_of_20():
    draws = np.random.default_rng(0).normal(3, 2, (4000, 21))
    inside = [low < row[-1] < high for row in draws for low, high in [of_next(row[:-1])]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_the_mean_falls_inside_19_times_of_20():
    draws = np.random.default_rng(1).normal(3, 2, (4000, 20))
    inside = [low < 3 < high for row in draws for low, high in [of_mean(row)]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_the_interval_of_a_rank_correlation_is_fishers():
    low, high = of_rank_correlation(0.5, 103)
    reach = 1.96 * 1.06**0.5 / 10
    assert np.arctanh([low, high]) == pytest.approx(np.arctanh(0.5) + np.array([-reach, reach]), rel=1e-4)
    assert of_rank_correlation(1.0, 50) == (1.0, 1.0)


def test_resampling_draws_as_many_as_there_are_with_replacement():
    times = resampled(10, 0, "x")
    assert (times.sum(axis=1) == 10).all()
    assert times.mean(axis=0) == pytest.approx(np.ones(10), abs=0.12)
    assert times.var() == pytest.approx(0.9, rel=0.05)
    assert np.array_equal(times, resampled(10, 0, "x"))
    assert not np.array_equal(times, resampled(10, 1, "x"))


def test_the_middle_leaves_out_what_is_no_number():
    assert middle(np.array([*np.arange(101.0), np.nan])) == pytest.approx((2.5, 97.5))
