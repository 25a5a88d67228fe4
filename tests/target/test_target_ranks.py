"""Several processes of a launcher fine-tune as one does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2l.files import read_json
from toy_runs import Outcome

Launch = Callable[..., list[Outcome]]
SMALL = (
    "--model",
    "builtin",
    "--layers",
    "1",
    "--width",
    "64",
    "--max-length",
    "64",
    "--threads",
    "1",
    "--epochs",
    "12",
)


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    """Runs `s2l train` in so many processes at once."""
    folder = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", str(folder / "train_driver.py")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (folder.parent, folder.parent / "proxy", *sys.path))),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout

        def launched(ranks: int, *words: str | Path, **job: Any) -> list[Outcome]:
            process.stdin.write(json.dumps({"ranks": ranks, "words": ["train", *map(str, words)], **job}) + "\n")
            process.stdin.flush()
            return [Outcome(**outcome) for outcome in json.loads(process.stdout.readline())]

        yield launched


@pytest.fixture(scope="module")
def alone(launch: Launch, toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    (outcome,) = launch(1, toy_run, "--all", *SMALL, "--out", out)
    assert outcome.code == 0, outcome.err
    return out


@pytest.mark.parametrize("more", [(), ("--packing",), ("--rows-at-once", "3")])
def test_two_processes_have_the_losses_of_one(more, launch: Launch, alone: Path, toy_run: Path, tmp_path: Path) -> None:
    first, second = launch(2, toy_run, "--all", *SMALL, *more, "--out", tmp_path, "--json")
    assert first.code == second.code == 0, first.err + second.err
    assert (second.out, second.err) == ("", "")
    assert json.loads(first.out) == read_json(tmp_path / "training.json")
    ours, theirs = (read_json(out / "losses.json") for out in (tmp_path, alone))
    assert len(ours) == len(theirs) == 60
    np.testing.assert_allclose(ours[:20], theirs[:20], atol=1e-4, rtol=0)
    assert read_json(tmp_path / "plan.json")["ranks"] == 2


def test_a_training_of_two_processes_that_was_killed_goes_on_in_one(
    launch: Launch, alone: Path, toy_run: Path, tmp_path: Path
) -> None:
    words = (toy_run, "--all", *SMALL, "--rows-at-once", "2", "--out", tmp_path)
    launch(2, *words, kill=0, once=str(tmp_path / "resume" / "checkpoint-12"))
    assert not (tmp_path / "training.json").exists()
    (again,) = launch(1, *words)
    assert again.code == 0, again.err
    ours, theirs = (read_json(out / "losses.json") for out in (tmp_path, alone))
    assert len(ours) == 60
    np.testing.assert_allclose(ours[:20], theirs[:20], atol=1e-4, rtol=0)


def test_accelerate_launches_two_processes(alone: Path, toy_run: Path, tmp_path: Path) -> None:
    how = "--multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0"
    launcher = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", *how.split()]
    command = [*launcher, "-m", "s2l", "train", toy_run, "--all", *SMALL, "--out", tmp_path / "out"]
    without_gpus = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, check=False, env=without_gpus, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().endswith("out/model"), "one process speaks"
    ours, theirs = (read_json(out / "losses.json") for out in (tmp_path / "out", alone))
    np.testing.assert_allclose(ours[:20], theirs[:20], atol=1e-4, rtol=0)
    assert read_json(tmp_path / "out" / "plan.json")["ranks"] == 2
