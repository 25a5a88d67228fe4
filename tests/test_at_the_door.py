"""Mistakes that show before the proxy is trained, and folders that are still free to take something else."""

import json
from pathlib import Path

import pytest

from s2l.config import ProxySettings
from s2l.proxy.builtin import build_model, heads_for
from toy_runs import DATA, FLAGS, FOLDER, MACHINE, SETTINGS, kept_ids, manifest, s2l, toy_rows, write_jsonl

CHOICES = [
    (("--method", "s3l", "--budget", "11%"), "no selection method 's3l'; there are: "),
    (("--set", "clustres=2", "--budget", "11%"), "method s2l has no setting 'clustres'; there are: "),
    (("--method", "rds", "--budget", "11%"), "method rds needs examples of the target task: --set examples=FILE"),
    (("--method", "rds", "--set", "examples=gone.jsonl", "--budget", "11%"), "examples='gone.jsonl': No such file"),
    (("--device", "abacus", "--budget", "11%"), "no device 'abacus'"),
    (("--budget", "149"), "asks for 149 rows (150 rows read, 2 of them excluded): ask for at most 148"),
    (("--budget", "9M-tokens"), "is above the"),
]


@pytest.mark.parametrize(("words", "message"), CHOICES, ids=[words[0] + words[1] for words, _ in CHOICES])
def test_a_choice_that_cannot_be_stops_before_training(
    words: tuple[str, ...], message: str, toy_pool: Path, tmp_path: Path
) -> None:
    outcome = s2l("run", toy_pool, *FLAGS, *words, "--out", tmp_path / "run")
    assert outcome.code == SETTINGS
    assert message in outcome.error
    assert not (tmp_path / "run" / "proxy").exists()


def test_an_id_to_keep_that_is_not_there_stops_before_training(toy_pool: Path, tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("0" * 24 + "\n")
    words = ("--budget", "11%", "--keep", tmp_path / "keep", "--out", tmp_path / "run")
    outcome = s2l("run", toy_pool, *FLAGS, *words)
    assert outcome.code == SETTINGS
    assert "1 of 1 ids to keep are not in the pool" in outcome.error
    assert not (tmp_path / "run" / "proxy").exists()


def test_a_missing_budget_is_asked_for(toy_pool: Path, tmp_path: Path) -> None:
    assert "say how much: --budget 11%" in s2l("run", toy_pool, "--out", tmp_path / "run").error


def test_a_folder_in_which_nothing_was_made_takes_other_settings(toy_pool: Path, tmp_path: Path) -> None:
    words = ("run", toy_pool, "--budget", "11%", "--out", tmp_path / "run")
    assert s2l(*words, "--proxy", "nobody/nothing").code == MACHINE
    mended = s2l(*words, *FLAGS)
    assert mended.code == 0, mended.err


def test_a_pool_that_could_not_be_read_may_be_mended(tmp_path: Path) -> None:
    pool = write_jsonl(tmp_path / "pool.jsonl", [{**row, "output": ""} for row in toy_rows()])
    words = ("run", pool, "--budget", "11%", *FLAGS, "--out", tmp_path / "run")
    assert s2l(*words).code == DATA
    write_jsonl(pool, toy_rows())
    mended = s2l(*words)
    assert mended.code == 0, mended.err


def test_exclusions_are_told_by_kind(tmp_path: Path) -> None:
    rows = toy_rows()
    pool = write_jsonl(tmp_path / "pool.jsonl", [*rows, *rows[:30]])
    words = ("--budget", "11%", "--repeats", "drop", *FLAGS, "--out", tmp_path / "run")
    assert s2l("run", pool, *words).code == 0
    told = {entry["reason"]: entry["rows"] for entry in manifest(tmp_path / "run")["pool"]["excluded"]}
    assert told["exact repeat"] == 31
    assert len(told) == 3


def test_the_manifest_of_a_subset_repeats_it_and_says_from_what_it_is_made(toy_run: Path, tmp_path: Path) -> None:
    subset = toy_run / "subsets" / "random-11pct"
    described = json.loads((subset / "manifest.json").read_text(encoding="utf-8"))
    assert described["pool"]["digest"] == manifest(toy_run)["pool"]["digest"]
    assert {"versions", "machine", "proxy", "s2l"} <= set(described)
    assert s2l("run", subset / "manifest.json", "--out", tmp_path / "again").code == 0
    assert kept_ids(tmp_path / "again" / "subsets" / "random-11pct") == kept_ids(subset)


def test_a_manifest_with_any_source_name_is_a_recipe(tmp_path: Path) -> None:
    rows = [{**row, "source": "line\u2028break\x85 and \x7f" + "x" * 2000} for row in toy_rows()]
    pool = write_jsonl(tmp_path / "pool.jsonl", rows)
    assert s2l("run", pool, "--budget", "11%", *FLAGS, "--out", tmp_path / "run").code == 0
    again = s2l("run", tmp_path / "run" / "manifest.json", "--out", tmp_path / "again")
    assert again.code == 0, again.err
    assert manifest(tmp_path / "again")["selection_sha256"] == manifest(tmp_path / "run")["selection_sha256"]


def test_an_unfinished_run_is_not_drawn_from(own_run: Path) -> None:
    (own_run / "manifest.json").unlink()
    outcome = s2l("select", own_run, "--budget", "20%")
    assert outcome.code == FOLDER
    assert "the run is not finished; run its command again first" in outcome.error


@pytest.mark.parametrize("name", ["manifest.json", "signal.json", "proxy/plan.json"])
def test_a_damaged_record_is_one_line(name: str, own_run: Path, toy_pool: Path) -> None:
    (own_run / name).write_text("{")
    words = ("select", own_run) if name != "manifest.json" else ("run", toy_pool, "--with-random", *FLAGS)
    where = () if name != "manifest.json" else ("--out", own_run)
    outcome = s2l(*words, "--budget", "11%" if where else "20%", *where)
    assert outcome.code == FOLDER
    assert f"{name}: damaged" in outcome.error


@pytest.mark.parametrize("width", range(32, 545, 32))
def test_every_width_on_offer_makes_a_model(width: int) -> None:
    settings = ProxySettings(model="builtin", width=width, layers=1)
    model = build_model(settings, vocabulary=300, end_id=0, max_length=16, seed=0)
    assert model.config.num_attention_heads == heads_for(width) <= max(1, width // 64)
