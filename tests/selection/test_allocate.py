"""Water-filling: exact, even, nested."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from s2l.selection.allocate import allocate

GROUPS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def test_small_groups_are_taken_whole_and_the_rest_is_shared_evenly():
    assert allocate(np.array([1, 4, 20, 30]), 21).tolist() == [1, 4, 8, 8]


def test_what_does_not_divide_goes_to_the_largest():
    assert allocate(np.array([10, 30, 20]), 20).tolist() == [6, 7, 7]


def test_equal_sizes_are_served_in_the_order_given():
    assert allocate(np.array([5, 5, 5]), 4).tolist() == [1, 1, 2]


@given(GROUPS, st.data())
def test_the_total_is_exact_and_no_group_gives_more_than_it_has(sizes, data):
    budget = data.draw(st.integers(0, sum(sizes)))
    counts = allocate(np.array(sizes), budget)
    assert counts.sum() == budget
    assert (counts <= sizes).all()


@given(GROUPS)
def test_a_larger_budget_takes_no_less_from_any_group(sizes):
    counts = np.array([allocate(np.array(sizes), budget) for budget in range(sum(sizes) + 1)])
    assert (np.diff(counts, axis=0) >= 0).all()


@given(GROUPS, st.data())
def test_groups_that_are_not_taken_whole_give_alike_and_at_least_as_much_as_the_others(sizes, data):
    counts = allocate(np.array(sizes), data.draw(st.integers(0, sum(sizes))))
    partial = counts[counts < sizes]
    if len(partial):
        assert partial.max() - partial.min() <= 1
        assert partial.min() >= counts.max() - 1


@given(GROUPS, st.data())
def test_no_group_is_more_than_one_row_from_the_papers_real_numbered_share(sizes, data):
    budget = data.draw(st.integers(0, sum(sizes)))
    sizes_K = np.sort(sizes)
    left, shares = float(budget), []
    for served, size in enumerate(sizes_K):
        shares.append(min(size, left / (len(sizes_K) - served)))
        left -= shares[-1]
    assert np.abs(allocate(sizes_K, budget) - shares).max() < 1 + 1e-9
