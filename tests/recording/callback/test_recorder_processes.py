"""A recorder on every process of a DDP training: the work is shared, the training is as without it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_trainings import tiny_gpt2, tokens_of
from transformers import AutoModelForCausalLM

from s2l.trajectories import store
from toy_models import loss_of_one_row
from toy_runs import files_of, manifest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def trainings(toy_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two processes: `with` a recorder, `without` one, and `with` again, from step 6, as `resumed`."""
    folder = tmp_path_factory.mktemp("ddp")
    model = tiny_gpt2(folder / "model")
    job = {"model": str(model), "pool": str(toy_pool), "resume": None}
    jobs = [
        {**job, "folder": str(folder / "with"), "record": True},
        {**job, "folder": str(folder / "without"), "record": False},
        {
            **job,
            "folder": str(folder / "resumed"),
            "record": True,
            "resume": str(folder / "resumed" / "trained" / "checkpoint-6"),
        },
    ]
    for name in ("with", "without"):
        (folder / name).mkdir()
    run_jobs(jobs[:2])
    shutil.copytree(folder / "with", folder / "resumed")
    for gone in ("manifest.json", "signal.json", "trajectories/step-00000012"):
        path = folder / "resumed" / "run" / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run_jobs(jobs[2:])
    return folder


def run_jobs(jobs: list[dict]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "training_driver.py"), json.dumps(jobs)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(HERE.parent)])},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_losses_of_every_process_are_those_without_it(trainings: Path) -> None:
    for rank in range(2):
        ours, theirs = (
            json.loads((trainings / name / f"losses-{rank}.json").read_text()) for name in ("with", "without")
        )
        assert ours == theirs and len(ours) == 12


def test_every_shard_is_there_with_the_losses_of_the_trained_model(trainings: Path) -> None:
    run = trainings / "with" / "run"
    assert len(list((run / "trajectories" / "step-00000012").iterdir())) == 3
    tokens, trained = tokens_of(run), trainings / "with" / "trained" / "checkpoint-12"
    model = AutoModelForCausalLM.from_pretrained(trained).eval()
    losses_N = store.load(run / "trajectories", [3, 6, 9, 12]).losses_NT[:, -1]
    rows = range(0, len(tokens), 17)
    np.testing.assert_allclose(losses_N[rows], [loss_of_one_row(model, tokens, row) for row in rows], atol=1e-5)
    assert manifest(run)["proxy"]["plan"]["ranks"] == 2


def test_resumed_processes_record_the_same(trainings: Path) -> None:
    ours, theirs = (files_of(trainings / name / "run" / "trajectories") for name in ("resumed", "with"))
    assert ours == theirs
    assert (trainings / "resumed" / "run" / "manifest.json").is_file()
