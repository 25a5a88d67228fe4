"""Rows added to a run later: scored as those of the pool are, in shards of their own, and nothing old moves."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from s2l.cli import record as _verb  # noqa: F401 - registers it
from s2l.data.rows_file import load_rows
from s2l.data.tokens import load_tokens
from s2l.proxy.checkpoints import find
from s2l.recording import added, from_checkpoints
from s2l.scoring.score import Scorer, score
from s2l.trajectories import store
from s2l.types import STATISTICS
from toy_runs import DATA, FLAGS, FOLDER, SETTINGS, Outcome, files_of, kept_ids, manifest, s2l, toy_rows, write_jsonl

MORE = [
    {"instruction": f"Add {i} and 300.", "output": f"{i} + 300 = {i + 300}", "source": "later"} for i in range(7)
] + [dict(toy_rows()[39])]
"""Seven new rows, and one that the pool has twice."""


@pytest.fixture
def more(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "more.jsonl", MORE)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_ROWS", 3)


def add(run: Path, *files: Path) -> Outcome:
    return s2l("record", run, *(word for file in files for word in ("--add", file)))


def ok(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


def steps(run: Path) -> list[int]:
    return list(json.loads((run / "proxy/plan.json").read_text())["saves"])


def test_added_rows_have_the_losses_that_the_checkpoints_give_them(own_run: Path, more: Path) -> None:
    import torch

    from s2l.proxy.checkpoints import load_model

    ok(add(own_run, more))
    tokens = load_tokens(own_run / "tokens.arrow")
    tokens = tokens.of(np.arange(len(tokens)))
    rows, _ = load_rows(own_run / "rows.parquet")
    new = np.flatnonzero(np.isin(tokens.ids, rows.ids[~rows.trained_on_N]))
    assert len(new) == 8
    recorded = store.load(own_run / "trajectories", steps(own_run))
    assert np.array_equal(recorded.ids, tokens.ids)
    for column, step in enumerate(steps(own_run)):
        checkpoint = find(own_run / "proxy", step)
        assert checkpoint is not None
        model = load_model(checkpoint, torch.device("cpu"))
        alone = Scorer(1, torch.device("cpu"), "float32", path="alone")
        naive_Sn = score(model, tokens, new, alone)
        np.testing.assert_allclose(
            recorded.sums["nll"][new, column], naive_Sn[STATISTICS.index("nll")], rtol=1e-5, atol=1e-5
        )


def test_no_old_file_of_sums_and_no_old_loss_moves(own_run: Path, more: Path, small_shards: None) -> None:
    shutil.rmtree(own_run / "trajectories")
    (own_run / "manifest.json").unlink()
    pool = manifest_command(own_run)
    ok(s2l(*pool))
    before, was = files_of(own_run / "trajectories"), store.load(own_run / "trajectories", steps(own_run))
    was_nll = was.sums["nll"].copy()
    ok(add(own_run, more))
    after, now = files_of(own_run / "trajectories"), store.load(own_run / "trajectories", steps(own_run))
    assert set(before.items()) <= set(after.items())
    new = {name for name in after if name not in before}
    assert new == {f"step-{step:08d}/added-001-shard-{k:05d}.parquet" for step in steps(own_run) for k in range(3)}
    old = np.isin(now.ids, was.ids)
    assert np.array_equal(now.ids[old], was.ids)
    assert np.array_equal(now.sums["nll"][old], was_nll)
    assert np.all(now.ids[:-1] < now.ids[1:])


def manifest_command(run: Path) -> list[str | Path]:
    """`s2l run` as it was asked for, into this folder."""
    claimed = json.loads((run / "run.json").read_text())["settings"]
    return ["run", *claimed["pool"]["paths"], "--budget", "11%", "--with-random", *FLAGS, "--out", run]


def test_ids_occurrences_and_tokens_are_those_of_one_pool(own_run: Path, toy_pool: Path, more: Path) -> None:
    before = load_tokens(own_run / "tokens.arrow")
    before_excluded, before = before.excluded, before.of(np.arange(len(before)))
    ok(add(own_run, more))
    rows, _ = load_rows(own_run / "rows.parquet")
    from s2l.config import PoolSettings
    from s2l.data.pool import read_pool

    one = read_pool(PoolSettings(paths=(str(toy_pool), str(more))))
    assert np.array_equal(rows.ids, one.rows.ids)
    assert rows.occurrence_N[-1] == 2  # rows 40 and 41 of the pool are the same, this is the third
    assert "later" in rows.sources
    after = load_tokens(own_run / "tokens.arrow")
    old = np.flatnonzero(np.isin(after.ids, before.ids))
    kept = after.of(old)
    assert np.array_equal(kept.ids, before.ids)
    assert np.array_equal(kept.input_ids, before.input_ids)
    assert np.array_equal(kept.counted, before.counted)
    assert dict(after.excluded) == dict(before_excluded)


def test_select_draws_from_all_rows_and_marks_those_not_trained_on(own_run: Path, more: Path) -> None:
    ok(add(own_run, more))
    assert not (own_run / "subsets").exists()
    assert len(list(own_run.glob("earlier/*/subsets/s2l-11pct"))) == 1
    ok(s2l("select", own_run, "--budget", "156", "--method", "full"))
    ok(s2l("select", own_run, "--budget", "50"))
    subset = own_run / "subsets/s2l-50"
    table = pq.read_table(subset / "selection.parquet")
    assert table["trained_on"].to_pylist() == [True] * 150 + [False] * 8
    assert len(kept_ids(subset)) == 50
    (all_of_them,) = (path for path in (own_run / "subsets").iterdir() if path.name.startswith("full"))
    assert (all_of_them / "more.jsonl").read_text() == more.read_text()
    for words in (("report", own_run), ("clusters", own_run), ("compare", own_run, "--budget", "20")):
        ok(s2l(*words))
    told = json.loads(s2l("status", own_run, "--json").out)
    assert (told["state"], told["missing"]) == ("finished", [])


def test_more_than_a_twentieth_is_a_warning_in_the_summary_and_on_the_page(own_run: Path, more: Path) -> None:
    out = " ".join(ok(add(own_run, more)).out.split())
    assert "8 rows (5.1% of all) were added later: the proxy was not trained on them; their losses" in out
    assert "Warning: 8 rows (5.1% of all) were added later" in (own_run / "report.html").read_text()
    assert manifest(own_run)["pool"]["added"] == 8


def test_a_few_are_told_without_a_warning(own_run: Path, tmp_path: Path) -> None:
    out = " ".join(ok(add(own_run, write_jsonl(tmp_path / "few.jsonl", MORE[:2]))).out.split())
    assert "2 rows (1.3% of all) were added later: the proxy was not trained on them" in out
    assert "stand apart" not in out


def test_the_same_command_again_adds_nothing(own_run: Path, more: Path) -> None:
    ok(add(own_run, more))
    before = files_of(own_run)
    outcome = ok(add(own_run, more))
    assert "was added before" in outcome.err
    assert files_of(own_run) == before


def test_a_second_addition_has_shards_of_its_own(own_run: Path, more: Path, tmp_path: Path) -> None:
    ok(add(own_run, more))
    first = files_of(own_run / "trajectories")
    third = write_jsonl(tmp_path / "third.jsonl", [dict(MORE[0]), {**MORE[1], "output": "so many"}])
    ok(add(own_run, third))
    after = files_of(own_run / "trajectories")
    assert set(first.items()) <= set(after.items())
    assert {name.partition("/")[2] for name in after if name not in first} == {"added-002-shard-00000.parquet"}
    rows, _ = load_rows(own_run / "rows.parquet")
    assert rows.added == (1, 1)
    assert rows.addition_N[-2:].tolist() == [2, 2]
    assert rows.occurrence_N[-2] == 1
    words = manifest(own_run)["command"].split(" && ")
    assert [line.split()[:2] for line in words] == [["s2l", "run"], ["s2l", "record"], ["s2l", "record"]]


STOPS: dict[str, tuple[object, str, int]] = {
    "before anything is moved": (added, "set_aside", 0),
    "before the claim": (added, "write_json", 0),
    "before the tokens": (added, "save_tokens", 0),
    "before the rows": (added, "save_rows", 0),
    "before the second shard": (store, "write_item", 1),
    "before the signal": (from_checkpoints, "to_recorded", 0),
    "before the manifest": (from_checkpoints, "write_json", 0),
    "before the page": (from_checkpoints, "write_report", 0),
}


@pytest.mark.parametrize("stop", STOPS)
def test_a_kill_at_any_moment_ends_in_the_identical_run(
    stop: str, own_run: Path, more: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path(shutil.copytree(own_run, tmp_path / "whole"))
    ok(add(whole, more))
    module, name, at = STOPS[stop]
    real: Callable[..., object] = getattr(module, name)
    calls: list[object] = []

    def dies(*words: object, **named: object) -> object:
        calls.append(words)
        if len(calls) > at:
            raise KeyboardInterrupt
        return real(*words, **named)

    monkeypatch.setattr(module, name, dies)
    assert add(own_run, more).code != 0
    monkeypatch.undo()
    ok(add(own_run, more))
    assert without_times(own_run) == without_times(whole)


def without_times(run: Path) -> dict[str, str]:
    """What must be the same, byte for byte."""
    timed = ("manifest.json", "seconds.json", "report.html", ".lock")
    return {name: digest for name, digest in files_of(run).items() if not name.endswith(timed)}


def test_what_else_has_changed_is_refused_by_name(own_run: Path, more: Path, toy_pool: Path, tmp_path: Path) -> None:
    assert (
        "--max-length: rows are added to a run with its own settings"
        in s2l("record", own_run, "--add", more, "--max-length", "32").error
    )
    own = write_jsonl(tmp_path / "third.jsonl", MORE[:1])
    ok(add(own_run, more))
    write_jsonl(more, MORE[:-1])
    outcome = add(own_run, own)
    assert outcome.code == DATA
    assert f"{more}: has changed since" in outcome.error
    more.unlink()
    assert f"{more}: the pool's file is not here" in add(own_run, own).error
    assert "this is the pool that the run was made from" in add(own_run, toy_pool).error


def test_a_refused_file_leaves_the_run_as_it_was(own_run: Path, tmp_path: Path) -> None:
    before = files_of(own_run)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"instruction": "Add 1 and 1.", "output": "2"}\n{"instruction": \n')
    outcome = add(own_run, bad)
    assert outcome.code == DATA
    assert f"{bad}:2" in outcome.error
    empty = write_jsonl(tmp_path / "empty.jsonl", [{"instruction": "x", "output": ""}])
    assert "can be scored" in add(own_run, empty).error
    assert {name: digest for name, digest in files_of(own_run).items() if name in before} == before


def test_only_a_finished_run_grows(own_run: Path, more: Path, tmp_path: Path) -> None:
    (own_run / "manifest.json").unlink()
    outcome = add(own_run, more)
    assert outcome.code == FOLDER
    assert "the run is not finished; run its command again first" in outcome.error
    assert add(tmp_path, more).code == FOLDER


def test_the_runs_own_command_says_how_it_goes_on(own_run: Path, more: Path) -> None:
    words = manifest_command(own_run)
    ok(add(own_run, more))
    outcome = s2l(*words)
    assert outcome.code == FOLDER
    assert "rows have been added to it; to draw from all of them: s2l select" in outcome.error
    again = s2l("run", own_run / "manifest.json", "--out", own_run.with_name("other"))
    assert again.code == SETTINGS
    assert "made by other commands, which repeat it: s2l run" in again.error


def test_a_url_with_a_secret_is_refused_and_written_nowhere(own_run: Path) -> None:
    before = files_of(own_run)
    outcome = s2l("record", own_run, "--add", "https://host/more.jsonl?token=planted")
    assert outcome.code == SETTINGS and "may be a secret" in outcome.error
    assert "planted" not in outcome.err and files_of(own_run) == before


def test_a_file_that_was_added_before_and_has_changed_is_refused(own_run: Path, more: Path) -> None:
    ok(add(own_run, more))
    before = files_of(own_run)
    write_jsonl(more, [*MORE, MORE[0]])
    outcome = add(own_run, more)
    assert outcome.code == DATA and f"{more}: has changed since" in outcome.error
    assert files_of(own_run) == before


def test_the_commands_on_a_card_make_the_subset_from_all_rows(own_run: Path, more: Path, tmp_path: Path) -> None:
    ok(add(own_run, more))
    ok(s2l("select", own_run, "--budget", "9", "--set", "clusters=5", "--seed", "3"))
    (card,) = own_run.glob("subsets/*/README.md")
    line = next(line for line in card.read_text(encoding="utf-8").splitlines() if line.startswith("    s2l run "))
    for words in line.strip().split(" && "):
        ok(s2l(*[str(tmp_path / "again") if word == "RUN" else word for word in shlex.split(words)[1:]]))
    (again,) = (tmp_path / "again/subsets").iterdir()
    assert kept_ids(again) == kept_ids(card.parent) and len(kept_ids(again)) == 9
