"""A plan becomes exactly the budget: on request first, then evenly over sources and groups."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selection_toys import record

from s2l.errors import SettingsError
from s2l.selection.budget import parse_budget
from s2l.selection.draw import _numbered_by_first, draw, queue_up, rows_for
from s2l.types import Plan
from toy_losses import make_ids


def recorded_of(n):
    return record(np.ones((n, 1)))


def plan_of(groups, scores=None):
    n = len(groups)
    return Plan(np.array(groups), np.zeros(n) if scores is None else np.array(scores, dtype=float), np.full(n, np.nan))


@st.composite
def plans(draw_):
    n = draw_(st.integers(1, 25))
    numbers = st.lists(st.integers(0, 3), min_size=n, max_size=n)
    return (draw_(numbers), draw_(numbers)), np.array(draw_(numbers)), draw_(st.sets(st.integers(0, n - 1)))


def test_the_lowest_scores_of_each_group_are_taken():
    kept_N = draw(plan_of([0, 0, 1, 1, 1, 1], [2, 1, 4, 3, 2, 1]), recorded_of(6), 4)
    assert kept_N.tolist() == [True, True, False, False, True, True]


def test_ties_go_to_the_smaller_id():
    assert draw(plan_of([0, 0, 0, 0]), recorded_of(4), 2).tolist() == [True, True, False, False]


def test_rows_kept_on_request_come_before_the_rest_is_shared():
    ids = make_ids(6)
    kept_N = draw(plan_of([0, 0, 1, 1, 1, 1]), recorded_of(6), 4, keep=frozenset([bytes(ids[4]), bytes(ids[5])]))
    assert kept_N.tolist() == [True, False, True, False, True, True]


def test_sources_are_served_before_groups():
    plan = plan_of([0, 1, 0, 1, 0, 1, 0, 1])
    kept_N = draw(plan, recorded_of(8), 4, strata_N=np.array([0, 0, 1, 1, 1, 1, 1, 1]))
    assert kept_N.tolist() == [True, True, True, True, False, False, False, False]


def test_groups_of_equal_size_are_ordered_by_their_smallest_id():
    assert draw(plan_of([1, 0, 0, 1]), recorded_of(4), 1).tolist() == [False, True, False, False]


@given(plans())
def test_budgets_are_exact_nested_and_hold_what_was_requested(case):
    numbers, strata_N, requested = case
    plan = plan_of(*numbers)
    n = len(strata_N)
    keep = frozenset(bytes(make_ids(n)[row]) for row in requested)
    masks = [draw(plan, recorded_of(n), b, strata_N=strata_N, keep=keep) for b in range(len(keep), n + 1)]
    assert [mask.sum() for mask in masks] == list(range(len(keep), n + 1))
    assert all(mask[list(requested)].all() for mask in masks)
    assert all((small <= large).all() for small, large in pairwise(masks))


@given(plans(), st.integers(1, 200))
def test_a_token_budget_is_the_most_rows_that_fit(case, tokens):
    numbers, strata_N, _ = case
    plan = plan_of(*numbers)
    recorded = recorded_of(len(strata_N))
    queues = queue_up(plan, recorded.trajectories.ids)
    sums = [int(recorded.lengths_N[queues.take(rows)].sum()) for rows in range(len(strata_N) + 1)]
    if tokens < sums[1] or tokens > sums[-1]:
        with pytest.raises(SettingsError):
            rows_for(parse_budget(f"{tokens}-tokens"), queues, recorded, read=99)
    else:
        rows = rows_for(parse_budget(f"{tokens}-tokens"), queues, recorded, read=99)
        assert sums[rows] <= tokens
        assert rows == len(strata_N) or sums[rows + 1] > tokens


@pytest.mark.parametrize("written", ["1", "1-tokens"])
def test_a_budget_below_the_rows_to_keep_is_refused(written):
    recorded = recorded_of(4)
    queues = queue_up(plan_of([0] * 4), recorded.trajectories.ids, keep=frozenset(make_ids(4)[:2].tolist()))
    with pytest.raises(SettingsError, match="has no room for the 2 rows to keep"):
        rows_for(parse_budget(written), queues, recorded, read=4)


def test_ids_to_keep_that_cannot_be_are_counted_and_the_first_named():
    keep = frozenset([bytes(make_ids(4)[0]), b"nobody\x1b", make_ids(4)[1].tobytes() + b"longer"])
    with pytest.raises(
        SettingsError, match=r"^2 of 3 ids to keep are not in the pool or were excluded, the first: "
    ) as e:
        draw(plan_of([0] * 4), recorded_of(4), 3, keep=keep)
    assert str(e.value).isprintable()


@given(st.lists(st.sampled_from([0, 1, 5, 400]), min_size=1, max_size=12))
def test_codes_are_numbered_in_the_order_in_which_they_first_occur(codes):
    number_W, first_J = _numbered_by_first(np.array(codes))
    firsts = list(dict.fromkeys(codes))
    assert number_W.tolist() == [firsts.index(code) for code in codes]
    assert first_J.tolist() == [codes.index(code) for code in firsts]
