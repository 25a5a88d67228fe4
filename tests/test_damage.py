"""Folders of others, changed inputs, damaged files: refused by name, and left alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from s2l.files import sha256_of
from s2l.run_folder import hold
from toy_runs import (
    BUSY,
    DATA,
    FLAGS,
    FOLDER,
    GOOD,
    NUMERICS,
    Driver,
    files_of,
    manifest,
    run_of,
    s2l,
    write_jsonl,
)


def test_a_folder_with_other_files_is_refused_and_left_alone(toy_pool: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    before = files_of(tmp_path)
    outcome = run_of(toy_pool, tmp_path)
    assert outcome.code == FOLDER
    assert f"{tmp_path}: holds other files, such as 'thesis.tex'; use another --out" in outcome.error
    assert files_of(tmp_path) == before


def test_a_file_in_place_of_the_folder_is_refused_and_left_alone(toy_pool: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    outcome = run_of(toy_pool, tmp_path / "run")
    assert outcome.code == FOLDER
    assert "a file, not a folder; use another --out" in outcome.error
    assert (tmp_path / "run").read_text() == "a file"


def test_changed_settings_are_refused_by_name(toy_pool: Path, own_run: Path) -> None:
    before = files_of(own_run)
    outcome = s2l("run", toy_pool, "--budget", "11%", "--with-random", *FLAGS, "--epochs", "4", "--out", own_run)
    assert outcome.code == FOLDER
    assert "made with other settings: --epochs was 'None', now '4.0'; use another --out" in outcome.error
    assert files_of(own_run) == before


def test_a_changed_pool_is_refused(tmp_path: Path, toy_run: Path) -> None:
    pool = write_jsonl(tmp_path / "pool.jsonl", GOOD)
    assert run_of(pool, tmp_path / "run").code == 0
    write_jsonl(pool, GOOD[:-1])
    outcome = run_of(pool, tmp_path / "run")
    assert outcome.code == FOLDER
    assert "made from other rows: the pool has changed since; use another --out" in outcome.error
    outcome = s2l("select", tmp_path / "run", "--budget", "2")
    assert outcome.code == DATA
    assert "the pool has changed since the run read it" in outcome.error
    pool.unlink()
    outcome = s2l("select", tmp_path / "run", "--budget", "2")
    assert outcome.code == DATA
    assert "the pool's file is not here" in outcome.error


def test_drawing_from_what_is_no_run_is_refused(tmp_path: Path) -> None:
    outcome = s2l("select", tmp_path, "--budget", "5")
    assert outcome.code == FOLDER
    assert "no run of s2l (no run.json in it)" in outcome.error
    assert files_of(tmp_path) == {}


def test_two_processes_in_one_folder_the_second_is_refused(driver: Driver, toy_pool: Path, own_run: Path) -> None:
    before = files_of(own_run)
    with hold(own_run):
        outcome = driver.run("select", own_run, "--budget", "5")
    assert outcome.code == BUSY
    assert "another process is at work in this folder; wait for it, or use another --out" in outcome.error
    assert files_of(own_run) == before


@pytest.fixture
def half_recorded(own_run: Path) -> Path:
    """A run that was stopped while it recorded trajectories: its last shard is missing, and all that follows."""
    (own_run / "manifest.json").unlink()
    shutil.rmtree(own_run / "subsets")
    shutil.rmtree(own_run / "trajectories" / "step-00000015")
    return own_run


def again(pool: Path, run: Path) -> Any:
    return s2l("run", pool, "--budget", "11%", "--with-random", *FLAGS, "--out", run)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [flip_a_byte, Path.unlink], ids=["corrupt", "without weights"])
def test_a_damaged_checkpoint_is_one_line_that_says_what_to_do(
    harm: Callable[[Path], None], toy_pool: Path, toy_run: Path, half_recorded: Path
) -> None:
    harm(half_recorded / "proxy" / "step-00000015" / "model.safetensors")
    outcome = again(toy_pool, half_recorded)
    assert outcome.code == FOLDER
    assert "step-00000015: this checkpoint is damaged or missing; remove the folder" in outcome.error

    shutil.rmtree(half_recorded / "proxy")
    assert again(toy_pool, half_recorded).code == 0
    assert manifest(half_recorded)["selection_sha256"] == manifest(toy_run)["selection_sha256"]


def test_a_missing_checkpoint_is_trained_again_to_the_same_end(
    toy_pool: Path, toy_run: Path, half_recorded: Path
) -> None:
    shutil.rmtree(half_recorded / "proxy" / "step-00000008")
    assert again(toy_pool, half_recorded).code == 0
    assert manifest(half_recorded)["selection_sha256"] == manifest(toy_run)["selection_sha256"]


@pytest.mark.parametrize(
    "name",
    ["tokens.arrow", "rows.parquet", "trajectories/step-00000004/shard-00000.parquet", "run.json", "proxy/plan.json"],
)
def test_a_damaged_file_is_one_line_that_names_it(name: str, toy_pool: Path, half_recorded: Path) -> None:
    path = half_recorded / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    outcome = again(toy_pool, half_recorded)
    assert outcome.code == FOLDER
    assert f"{path}: " in outcome.error
    assert "damaged" in outcome.error


def test_a_loss_that_is_no_number_stops_the_recording_and_names_the_row(toy_pool: Path, half_recorded: Path) -> None:
    checkpoint = half_recorded / "proxy" / "step-00000015"
    weights = load_file(checkpoint / "model.safetensors")
    weights["gpt_neox.final_layer_norm.bias"] += torch.nan
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    sha256 = sha256_of(checkpoint / "model.safetensors")
    (checkpoint / "checkpoint.json").write_text(json.dumps({"step": 15, "sha256": sha256}))
    outcome = again(toy_pool, half_recorded)
    assert outcome.code == NUMERICS
    assert f"error: {toy_pool}:" in outcome.error
    assert "the proxy's loss is not a finite number; nothing was imputed and the run stopped" in outcome.error
    assert not (half_recorded / "trajectories" / "step-00000015").exists()
