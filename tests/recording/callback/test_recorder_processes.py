"""A recorder on every process of a DDP training: the work is shared, the training is as without it."""

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from toy_trainings import ROWS, tiny_gpt2, tokens_of
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
        {**job, "folder": str(folder / "with"), "record": "recorded"},
        {**job, "folder": str(folder / "without"), "record": None},
        {**job, "folder": str(folder / "seen"), "record": "seen"},
        {
            **job,
            "folder": str(folder / "resumed"),
            "record": "recorded",
            "resume": str(folder / "resumed" / "trained" / "checkpoint-6"),
        },
    ]
    for name in ("with", "without", "seen"):
        (folder / name).mkdir()
    run_jobs(jobs[:3])
    shutil.copytree(folder / "with", folder / "resumed")
    for gone in ("manifest.json", "signal.json", "trajectories/step-00000012"):
        path = folder / "resumed" / "run" / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run_jobs(jobs[3:])
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
        ours, seen, theirs = (
            json.loads((trainings / name / f"losses-{rank}.json").read_text()) for name in ("with", "seen", "without")
        )
        assert ours == seen == theirs and len(ours) == 12


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


def test_what_the_processes_see_is_every_row_once_an_epoch(trainings: Path) -> None:
    run = trainings / "seen" / "run"
    tokens, recorded = tokens_of(run), store.load(run / "trajectories", [6, 12])
    row_of = {tuple(tokens.input_ids[a:b].tolist()): row for row, (a, b) in enumerate(pairwise(tokens.start_N))}
    assert len(recorded) == len(row_of) == ROWS
    for rank in range(2):
        passes = json.loads((trainings / "seen" / f"passes-{rank}.json").read_text())
        assert len(passes) == ROWS
        for number, (ids, loss) in enumerate(passes):
            epoch = 2 * number // ROWS
            assert recorded.sums["nll"][row_of[tuple(ids)], epoch] == pytest.approx(loss, rel=2e-5, abs=1e-5)
