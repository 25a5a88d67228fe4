"""The verdicts on a pool: budgets, the random twin, reasons in words."""

from dataclasses import replace

import numpy as np
import pytest
from selection_toys import record, rows_of

from s2l.config import SelectSettings
from s2l.errors import SettingsError
from s2l.selection.select import select
from toy_losses import decaying


def choose(recorded, *budgets, excluded=None, **settings):
    return select(rows_of(recorded), recorded, SelectSettings(budgets=budgets, **settings), 0, excluded=excluded)


def reasons(selection):
    return [selection.reasons[reason] for reason in selection.reason_N]


def test_the_reason_names_the_cluster_and_how_many_of_it_were_drawn():
    recorded = record(np.array([[1.0], [5.0], [5.0], [1.0], [5.0], [9.0]]))
    (selection,) = choose(recorded, 4, options={"clusters": 3, "within": "central"})
    assert reasons(selection) == [
        "drawn from cluster 1 (1 of 2)",
        "drawn from cluster 2 (2 of 3)",
        "drawn from cluster 2 (2 of 3)",
        "not drawn from cluster 1 (1 of 2)",
        "not drawn from cluster 2 (2 of 3)",
        "drawn from cluster 0 (1 of 1)",
    ]
    assert selection.cluster_N.tolist() == [1, 2, 2, 1, 2, 0]
    assert selection.distance_N.tolist() == [0.0] * 6


def test_the_reason_names_the_source_where_sources_are_balanced():
    recorded = record(np.array([[1.0], [5.0], [1.0], [5.0]]), sources=("a", "b\x1b[2J"))
    (random,) = choose(recorded, 2, method="random", balance="source")
    assert set(reasons(random)) == {
        "drawn from source 'a' (1 of 2)",
        "not drawn from source 'a' (1 of 2)",
        r"drawn from source 'b\x1b[2J' (1 of 2)",
        r"not drawn from source 'b\x1b[2J' (1 of 2)",
    }
    (s2l,) = choose(recorded, 2, balance="source", options={"clusters": "2"})
    assert "drawn from cluster 0 of source 'a' (1 of 2)" in reasons(s2l)


def test_a_method_without_groups_has_no_clusters():
    (random,) = choose(record(decaying(9)), 3, method="random")
    assert set(reasons(random)) == {"drawn (3 of 9)", "not drawn (3 of 9)"}
    assert (random.cluster_N == -1).all()
    assert np.isnan(random.distance_N).all()


def test_each_budget_is_followed_by_its_random_twin():
    chosen = choose(record(decaying(50)), 5, "10%", "20%", with_random=True)
    told = [(selection.method, selection.budget, selection.facts["budget"]) for selection in chosen]
    assert told == [
        ("s2l", 5, "5"),
        ("random", 5, "5"),
        ("s2l", 5, "10%"),
        ("random", 5, "10%"),
        ("s2l", 10, "20%"),
        ("random", 10, "20%"),
    ]


def test_random_has_no_twin():
    assert len(choose(record(decaying(50)), 5, method="random", with_random=True)) == 1


def test_the_random_twin_overlaps_as_chance_has_it():
    recorded = record(decaying(3000))
    s2l, random = choose(recorded, "20%", with_random=True, options={"clusters": 10})
    assert (s2l.kept_N & random.kept_N).sum() == pytest.approx(120, abs=40)


def test_a_budget_written_twice_counts_once():
    assert len(choose(record(decaying(50)), "11%", 0.11, "11.0%")) == 1


def test_a_token_budget_is_never_exceeded():
    recorded = record(decaying(200))
    for selection in choose(recorded, "500-tokens", "1k-tokens", with_random=True):
        tokens = int(recorded.lengths_N[selection.kept_N].sum())
        asked = 500 if selection.facts["budget"] == "500-tokens" else 1000
        assert asked - 11 <= tokens <= asked


def test_more_tokens_than_there_are_is_refused():
    told = r"^budget 1M-tokens is above the 1,594 tokens of the 200 rows that can be chosen"
    with pytest.raises(SettingsError, match=told):
        choose(record(decaying(200)), "1M-tokens")


def test_the_tokenizers_exclusions_are_reasons_too():
    recorded = record(decaying(5))
    malformed, empty = {b"0" * 24: "malformed: no JSON"}, {b"1" * 24: "empty response"}
    rows = replace(rows_of(recorded, malformed | empty), excluded=malformed)
    (selection,) = select(rows, recorded, SelectSettings(budgets=(2,)), 0, excluded=empty)
    assert reasons(selection)[5:] == ["excluded: malformed: no JSON", "excluded: empty response"]
