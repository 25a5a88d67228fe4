"""RDS+: examples of the target task choose by turns, against the rule written out."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selection_toys import record

from s2l.errors import SettingsError
from s2l.progress import SILENT
from s2l.selection import room
from s2l.selection.methods import get
from s2l.selection.methods.rds import by_turns
from s2l.selection.unit import directions
from toy_losses import decaying
from toy_runs import Outcome, s2l, toy_rows, verdicts, write_jsonl

METHOD = get("rds")
TWO = (9, 70)
"""Rows of the toy pool that serve as examples."""


def made(n, kinds, seed):
    vectors_ND = np.random.default_rng(seed).normal(size=(kinds, 3)).astype(np.float32)
    return directions(np.resize(vectors_ND, (n, 3)))


def plain_turns(units_ND, examples_MD, n_rows):
    similar_NM = units_ND.astype(np.int64) @ examples_MD.astype(np.int64).T
    order = []
    while len(order) < n_rows:
        example = len(order) % len(examples_MD)
        free = [row for row in range(len(units_ND)) if row not in order]
        order.append(min(free, key=lambda row: (-similar_NM[row, example], row)))
    others = sorted(set(range(len(units_ND))) - set(order), key=lambda row: (-similar_NM[row].max(), row))
    return order + others


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 7), st.integers(0, 9))
def test_each_example_in_turn_takes_the_row_most_like_it_that_none_has(n, kinds, examples, seed):
    units_ND, examples_MD = made(n, min(n, kinds), seed), made(examples, examples, seed + 100)
    for n_rows in {1, (n + 1) // 2, n}:
        order_N = by_turns(units_ND, examples_MD, n_rows, lambda _rows: None)
        assert order_N.tolist() == plain_turns(units_ND, examples_MD, n_rows)


def test_the_method_compares_position_weighted_states_of_the_checkpoint_asked_for(tmp_path):
    recorded = record(decaying(120), most=30)
    examples = write_jsonl(tmp_path / "examples.jsonl", [{"text": "any"}])
    plan = METHOD.plan(recorded, METHOD.parse({"examples": str(examples), "at": "early"}), 0, SILENT)
    units_ND = directions(recorded.more.embeddings("position", 0))
    assert np.argsort(plan.score_N).tolist() == plain_turns(units_ND, units_ND[::50], 30)
    assert plan.facts["examples"] == 3
    assert len(plan.facts["examples_blake2b"]) == 32


@pytest.mark.parametrize("options", [{}, {"examples": "gone.jsonl"}, {"examples": "."}])
def test_without_a_file_of_examples_it_says_so(options):
    with pytest.raises(SettingsError, match=r"method rds(:| needs examples of the target task: --set) examples="):
        METHOD.plan(record(decaying(9)), METHOD.parse(options), 0, SILENT)


def test_more_choices_than_the_memory_holds_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 2000)
    with pytest.raises(OSError, match="40 examples' choice of 30 rows"):
        by_turns(np.zeros((30, 3), np.float32), np.zeros((40, 3), np.float32), 30, lambda _rows: None)


def chosen(run: Path, examples: Path, budget: int = 2) -> Outcome:
    return s2l("select", run, "--method", "rds", "--set", f"examples={examples}", "--budget", str(budget), "--json")


def lines_of(run: Path, outcome: Outcome) -> set[int]:
    """Lines of the pool that the draw kept."""
    assert outcome.code == 0, outcome.err
    (subset,) = json.loads(outcome.out)["subsets"]
    return {row["line"] for row in verdicts(run / subset["path"]) if row["kept"]}


def test_rows_of_the_pool_as_examples_choose_themselves_first(own_run: Path, tmp_path: Path) -> None:
    rows = toy_rows()
    examples = write_jsonl(tmp_path / "examples.jsonl", [rows[row] for row in TWO])
    outcome = chosen(own_run, examples)
    assert lines_of(own_run, outcome) == {row + 1 for row in TWO}
    assert "embeddings-position at step" in outcome.err
    (subset,) = json.loads(outcome.out)["subsets"]
    assert subset["settings"]["select"]["options"] == {"examples": str(examples)}

    turned = write_jsonl(tmp_path / "turned.jsonl", [rows[row] for row in reversed(TWO)])
    more = [lines_of(own_run, again) for again in (chosen(own_run, path, 7) for path in (examples, turned))]
    assert more[0] == more[1]
    assert more[0] > {row + 1 for row in TWO}


def test_examples_may_have_a_shape_of_their_own_and_need_a_response(own_run: Path, tmp_path: Path) -> None:
    rows = toy_rows()
    pairs = [{"question": rows[row]["instruction"], "answer": rows[row]["output"]} for row in TWO]
    outcome = chosen(own_run, write_jsonl(tmp_path / "pairs.jsonl", pairs))
    assert lines_of(own_run, outcome) == {row + 1 for row in TWO}
    pairs[1]["answer"] = ""
    outcome = chosen(own_run, write_jsonl(tmp_path / "prompts.jsonl", pairs))
    assert outcome.code == 3
    assert outcome.error.endswith("prompts.jsonl:2: empty response; an example needs a response")
