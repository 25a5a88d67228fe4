"""Every method that ranks by recorded sums, against its formula written out row by row."""

import math
from itertools import pairwise

import numpy as np
import pytest
from selection_toys import decaying, record, statistics

from s2l.errors import SettingsError
from s2l.progress import SILENT
from s2l.selection.methods import get
from s2l.selection.scores import columns

LOSSES_NT = decaying(40, checkpoints=8)
MEANS = {name: mean_NT.tolist() for name, mean_NT in statistics(LOSSES_NT).items()}
ROWS = range(len(LOSSES_NT))


def score(method, **options):
    return get(method).plan(record(LOSSES_NT), get(method).parse(options), 0, SILENT).score_N


def mean(values):
    return sum(values) / len(values)


def drops(row):
    hits = MEANS["hits"][row]
    return [max(0.0, before - after) for before, after in pairwise(hits)]


def deviation(values):
    return math.sqrt(mean([(value - mean(values)) ** 2 for value in values]))


NAIVE = {
    ("least-confidence",): lambda row: MEANS["p_max"][row][-1],
    ("least-confidence", ("of", "target")): lambda row: MEANS["p_target"][row][-1],
    ("perplexity",): lambda row: MEANS["nll"][row][-1],
    ("perplexity", ("first", "high"), ("at", "early")): lambda row: -mean(MEANS["nll"][row][:2]),
    ("high-learnability",): lambda row: MEANS["nll"][row][-1] - MEANS["nll"][row][0],
    ("el2n",): lambda row: -mean(MEANS["el2n"][row][:2]),
    ("cartography",): lambda row: -deviation(MEANS["p_target"][row]),
    ("cartography", ("region", "hard")): lambda row: mean(MEANS["p_target"][row]),
    ("cartography", ("region", "easy")): lambda row: -mean(MEANS["p_target"][row]),
    ("forgetting",): lambda row: -sum(drop > 0 for drop in drops(row)) - mean(drops(row)) / 2,
    ("aum",): lambda row: -mean(MEANS["margin"][row]),
    ("aum", ("first", "low")): lambda row: mean(MEANS["margin"][row]),
    ("length", ("of", "row")): lambda row: -(5 + row % 7),
    ("length", ("first", "short")): lambda _row: 4,
    ("full",): lambda _row: 0,
    ("grand",): lambda row: -2 * mean(LOSSES_NT[row, :2].tolist()),
    ("grand", ("scope", "head"), ("at", "late")): lambda row: -LOSSES_NT[row, -1],
    ("ifd",): lambda row: -(LOSSES_NT[row, -1] - (1.2 * LOSSES_NT[row, -1] - 0.1)),
}


@pytest.mark.parametrize("case", NAIVE, ids=str)
def test_scores_are_those_of_the_formula(case):
    method, *options = case
    expected = [NAIVE[case](row) for row in ROWS]
    np.testing.assert_allclose(score(method, **dict(options)), expected, atol=1e-6)


def test_middle_perplexity_begins_at_the_median():
    order = np.argsort(score("middle-perplexity"), kind="stable")
    by_loss = np.argsort(LOSSES_NT[:, -1]).tolist()
    assert set(order[:2].tolist()) == set(by_loss[19:21])
    assert set(order[-2:].tolist()) == {by_loss[0], by_loss[-1]}


def test_early_is_the_first_quarter_of_training_and_start_is_before_it():
    assert columns("early", (0, 10, 20, 30, 40, 50, 60, 70, 80)) == [1, 2]
    assert columns("early", (30, 40)) == [0]
    assert columns("early", (0, 40)) == [1]
    assert columns("start", (0, 10)) == [0]
    assert columns("late", (0, 10, 20)) == [2]
    with pytest.raises(SettingsError, match="--initial-checkpoint"):
        columns("start", (10, 20))


def test_ccs_takes_the_hardest_rows_last_and_the_strata_evenly():
    plan = get("ccs").plan(record(LOSSES_NT), get("ccs").parse({"strata": 4, "cut": 0.25}), 0, SILENT)
    area = np.array(MEANS["margin"]).mean(axis=1)
    assert set(np.flatnonzero(plan.last_N)) == set(np.argsort(area)[:10].tolist())
    kept = -area[~plan.last_N]
    edges = np.linspace(kept.min(), kept.max(), 5)
    expected = np.clip(np.searchsorted(edges, kept, side="right") - 1, 0, 3)
    assert plan.group_N[~plan.last_N].tolist() == expected.tolist()
