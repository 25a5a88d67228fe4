"""Overlap, chance and rank correlation against their formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from s2l.selection.agreement import jaccard, jaccard_by_chance, rank_correlation, ranking, ranks
from s2l.selection.scores import ranked
from s2l.types import Plan


def those(*rows, of=10):
    return np.isin(np.arange(of), rows)


def plan(score_N, last_N=None, group_N=None):
    n = len(score_N)
    groups = np.zeros(n, dtype=np.int64) if group_N is None else np.array(group_N)
    return Plan(groups, np.array(score_N, dtype=float), np.full(n, np.nan), last_N)


def test_overlap_is_what_both_choose_of_what_either_does():
    assert jaccard(those(1, 2, 3), those(2, 3, 4, 5)) == 2 / 5
    assert jaccard(those(1), those(1)) == 1
    assert jaccard(those(1), those(2)) == 0


def test_chance_is_what_independent_random_sets_give():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        one_N, other_N = np.zeros((2, 500), dtype=bool)
        one_N[rng.choice(500, 55, replace=False)] = True
        other_N[rng.choice(500, 100, replace=False)] = True
        found.append(jaccard(one_N, other_N))
    assert np.mean(found) == pytest.approx(jaccard_by_chance(55, 100, 500), rel=0.03)
    assert jaccard_by_chance(11, 11, 100) == pytest.approx(1.21 / (22 - 1.21))
    assert jaccard_by_chance(100, 100, 100) == 1


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_equal_scores_share_the_mean_of_their_ranks(scores):
    assert ranks(np.array(scores)).tolist() == rankdata(scores).tolist()


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-1, 1)), min_size=2, max_size=30))
def test_rank_correlation_is_spearmans(pairs):
    one, other = np.array(pairs).T
    found = rank_correlation(ranking(plan(one)), ranking(plan(other)))
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)


def test_the_reverse_order_is_minus_one_and_the_same_is_one():
    forth, back = ranking(plan([1, 5, 9, 9])), ranking(plan([3, 2, 1, 1]))
    assert rank_correlation(forth, forth) == pytest.approx(1, abs=1e-15)
    assert rank_correlation(forth, back) == pytest.approx(-1, abs=1e-15)


def test_rows_turned_away_rank_behind_all_others():
    turned_away = plan([5.0, 1.0, 2.0, 0.0], last_N=np.array([False, True, False, True]))
    assert rank_correlation(ranking(turned_away), ranking(plan([2, 4, 1, 3]))) == pytest.approx(1)


def test_groups_and_scores_all_alike_are_no_ranking():
    assert ranking(plan([1, 2, 3, 4], group_N=[0, 0, 1, 1])) is None
    assert ranking(ranked(np.zeros(4))) is None
    assert rank_correlation(None, ranking(plan([1, 2]))) is None
