"""Killed at any moment, the same command goes on and ends as if it had never been stopped."""

import signal
from pathlib import Path
from typing import Any

import pytest

from toy_runs import FLAGS, Driver, files_of, manifest

TRAINER = "s2l.proxy.train:ProxyTrainer"
MOMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "inside the write of run.json": ({"strike": "s2l.files:_flush"}, "run.json.part"),
    "while tokenizing": ({"strike": "s2l.data.tokens:_cut"}, "tokenizer"),
    "inside the write of the tokens": ({"strike": "s2l.data.tokens:pa.ipc.new_file"}, "tokens.arrow.part"),
    "between the tokens and the rows": ({"strike": "s2l.pipeline:save_rows"}, "tokens.arrow"),
    "between two checkpoints": ({"strike": f"{TRAINER}.training_step", "at": 6}, "proxy/step-00000004"),
    "again, at the first step after resuming": ({"strike": f"{TRAINER}.training_step"}, "proxy/resume/checkpoint-4"),
    "inside a checkpoint's write": (
        {"strike": "s2l.proxy.checkpoints:sha256_of", "manner": "tear"},
        "proxy/step-00000008.part/model.safetensors",
    ),
    "while Trainer writes its resume state": (
        {"strike": f"{TRAINER}._save_rng_state"},
        "proxy/resume/checkpoint-8/optimizer.pt",
    ),
    "inside the resume state's last file": (
        {"strike": "transformers:TrainerState.save_to_json", "manner": "tear"},
        "proxy/resume/checkpoint-8/trainer_state.json",
    ),
    "before an old resume state is removed": (
        {"strike": "transformers.trainer:rotate_checkpoints", "at": 2},
        "proxy/resume/checkpoint-8",
    ),
    "after training": ({"strike": "s2l.proxy.stage:remove"}, "proxy/step-00000015"),
    "inside a shard's write": (
        {"strike": "s2l.trajectories.store:pq.write_table", "at": 2, "manner": "tear"},
        "trajectories/step-00000004/shard-00001.parquet.part",
    ),
    "between two shards": (
        {"strike": "s2l.scoring.record:score", "at": 6},
        "trajectories/step-00000008/shard-00000.parquet",
    ),
    "again, before the folder is held": ({"strike": "s2l.run_folder:locked"}, "trajectories/step-00000008"),
    "in the signal's k-means": ({"strike": "s2l.selection.kmeans:searcher"}, "trajectories/step-00000015"),
    "in k-means": ({"strike": "s2l.selection.grouping:Represented"}, "signal.json"),
    "in export, in the midst of the rows": (
        {"strike": "s2l.data.json_records:Record", "at": 310},
        "subsets/s2l-11pct.part/pool.jsonl",
    ),
    "in export, after the reasons": (
        {"strike": "s2l.data.export:write_handover"},
        "subsets/s2l-11pct.part/selection.parquet",
    ),
    "in export, between two subsets": ({"strike": "s2l.subsets:export", "at": 2}, "subsets/s2l-11pct/manifest.json"),
    "before the manifest": ({"strike": "s2l.manifest:of_run"}, "subsets/random-11pct"),
}
"""What is struck, and what then stands in the folder. Each attempt finds what the ones before it got done; checkpoints
are due at steps 4, 8, 11 and 15."""
TELLS_THE_TIME = ("manifest.json", "seconds.json", "report.html")


def command(pool: Path, out: Path) -> tuple[str | Path, ...]:
    return "run", pool, "--budget", "11%", "--with-random", *FLAGS, "--out", out


@pytest.fixture(scope="module")
def undisturbed(driver: Driver, toy_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    outcome = driver.run(*command(toy_pool, out))
    assert outcome.code == 0, outcome.err
    return out


def assert_same_result(run: Path, undisturbed: Path) -> None:
    assert manifest(run)["selection_sha256"] == manifest(undisturbed)["selection_sha256"]
    assert manifest(run)["subsets"] == manifest(undisturbed)["subsets"]
    assert timeless(run) == timeless(undisturbed)


def timeless(run: Path) -> dict[str, str]:
    """Every file but those that differ between any two runs: checkpoints, sums, subsets, no more and no less."""
    return {name: digest for name, digest in files_of(run).items() if name not in TELLS_THE_TIME}


def test_a_run_killed_at_every_point_ends_as_one_that_was_never_stopped(
    driver: Driver, toy_pool: Path, tmp_path: Path, undisturbed: Path
) -> None:
    run = tmp_path / "run"
    for moment, (how, left) in MOMENTS.items():
        outcome = driver.run(*command(toy_pool, run), **how)
        assert outcome.code == -signal.SIGKILL, f"{moment}: {outcome}"
        assert (run / left).exists(), f"{moment}: no {left} in {sorted(files_of(run))}"
        assert not (run / "manifest.json").exists(), moment

    outcome = driver.run(*command(toy_pool, run))
    assert outcome.code == 0, outcome.err
    assert_same_result(run, undisturbed)
    leftovers = [name for name in files_of(run) if name.endswith((".part", ".pt", ".pth", ".bin", ".pkl"))]
    assert not leftovers
    assert not (run / "proxy" / "resume").exists()


def test_a_run_killed_before_its_page_gets_it_by_the_same_command(
    driver: Driver, toy_pool: Path, tmp_path: Path, undisturbed: Path
) -> None:
    run = tmp_path / "run"
    assert driver.run(*command(toy_pool, run), strike="s2l.pipeline:write_report").code == -signal.SIGKILL
    assert (run / "manifest.json").exists() and not (run / "report.html").exists()
    assert driver.run(*command(toy_pool, run)).code == 0
    assert (run / "report.html").exists()
    assert_same_result(run, undisturbed)


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(
    driver: Driver, toy_pool: Path, tmp_path: Path, undisturbed: Path
) -> None:
    run = tmp_path / "run"
    step = {"strike": f"{TRAINER}.training_step", "at": 6, "manner": "interrupt"}
    outcome = driver.run(*command(toy_pool, run), **step)
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "stopped; the same command goes on from here"
    assert "Traceback" not in outcome.err
    assert outcome.out == ""

    assert driver.run(*command(toy_pool, run)).code == 0
    assert_same_result(run, undisturbed)


@pytest.mark.parametrize("room", [10_000, 40_000, 200_000, 600_000])
def test_a_full_disk_is_one_line_and_loses_nothing(
    driver: Driver, toy_pool: Path, tmp_path: Path, undisturbed: Path, room: int
) -> None:
    run = tmp_path / "run"
    outcome = driver.run(*command(toy_pool, run), file_size=room)
    assert outcome.code == 6, outcome
    assert "no room on the disk; nothing is lost: free some and run the same command again" in outcome.error
    assert not (run / "manifest.json").exists()
    assert not list(run.rglob("*.part"))

    assert driver.run(*command(toy_pool, run)).code == 0
    assert_same_result(run, undisturbed)


def test_a_finished_run_is_not_made_again(driver: Driver, toy_pool: Path, undisturbed: Path) -> None:
    before = files_of(undisturbed)
    never = {"strike": "s2l.pipeline:to_tokens"}
    outcome = driver.run(*command(toy_pool, undisturbed), "--json", **never)
    assert outcome.code == 0
    assert manifest(undisturbed)["selection_sha256"] in outcome.out
    assert {**files_of(undisturbed), "seconds.json": ""} == {**before, "seconds.json": ""}
