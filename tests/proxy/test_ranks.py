"""Several processes of a launcher train as one does, and end as one does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2l.errors import SettingsError
from s2l.files import read_json
from s2l.library import select
from s2l.proxy.plan import PLAN
from s2l.proxy.ranks import ALONE, joined
from toy_runs import BROKEN, FLAGS, Outcome, kept_ids, manifest, s2l

Launch = Callable[..., list[Outcome]]
STEPS = 24


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    """Runs a job of ranks_driver.py: `ranks` processes at once."""
    folder = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", str(folder / "ranks_driver.py")],
        env={**os.environ, "PYTHONPATH": str(folder.parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout

        def launched(ranks: int, *words: str | Path, **job: Any) -> list[Outcome]:
            process.stdin.write(json.dumps({"ranks": ranks, "words": [*map(str, words)], **job}) + "\n")
            process.stdin.flush()
            return [Outcome(**outcome) for outcome in json.loads(process.stdout.readline())]

        yield launched


def trained(launch: Launch, folder: Path, ranks: int, **toy: int) -> Mapping[str, list]:
    folder.mkdir(exist_ok=True)
    outcomes = launch(ranks, toy={"folder": str(folder), "steps": STEPS, **toy})
    assert [outcome.code for outcome in outcomes] == [0] * ranks, outcomes
    found: Mapping[str, list] = read_json(folder / "losses.json")
    return found


@pytest.fixture(scope="module")
def alone(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list]:
    return trained(launch, tmp_path_factory.mktemp("alone"), 1)


@pytest.mark.parametrize(("ranks", "workers"), [(2, 1), (3, 2)])
def test_first_losses_and_checkpoint_steps_are_those_of_one_process(
    ranks: int, workers: int, launch: Launch, alone, tmp_path: Path
) -> None:
    together = trained(launch, tmp_path, ranks, workers=workers)
    assert len(together["losses"]) == STEPS
    np.testing.assert_allclose(together["losses"][:20], alone["losses"][:20], atol=1e-4, rtol=0)
    assert together["steps"] == alone["steps"] == [8, 16, 24]


def test_memory_that_runs_out_on_one_rank_makes_the_batches_of_all_smaller(launch, alone, tmp_path: Path) -> None:
    together = trained(launch, tmp_path, 2, fitting=60)
    np.testing.assert_allclose(together["losses"][:20], alone["losses"][:20], atol=1e-4, rtol=0)
    assert read_json(tmp_path / PLAN)["halvings"]


def test_a_run_under_a_launcher_is_a_run(
    launch: Launch, toy_pool: Path, toy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("run", toy_pool, "--budget", "11%", *FLAGS, "--out", tmp_path / "run", "--json")
    first, second = launch(2, *command)
    assert first.code == 0, first.err
    assert second == Outcome(0, "", "")
    assert json.loads(first.out) == manifest(tmp_path / "run")
    plan, plan_alone = (read_json(run / "proxy" / PLAN) for run in (tmp_path / "run", toy_run))
    assert (plan["ranks"], plan_alone["ranks"]) == (2, 1)
    assert plan["saves"] == plan_alone["saves"]
    ours, theirs = (kept_ids(run / "subsets" / "s2l-11pct") for run in (tmp_path / "run", toy_run))
    with capsys.disabled():
        print(f"\noverlap of the subsets from 2 processes and from 1: {len(ours & theirs) / len(ours):.0%}")
    # A finished run lets the others go at once.
    assert [outcome.code for outcome in launch(2, *command)] == [0, 0]


def test_a_mistake_is_one_line_and_ends_all(launch: Launch, tmp_path: Path) -> None:
    pool = tmp_path / "bad.jsonl"
    pool.write_bytes(BROKEN)
    first, second = launch(2, "run", pool, "--budget", "3", *FLAGS, "--out", tmp_path / "run")
    assert first.code == 3
    assert first.error.startswith(f"error: {pool}:1: ")
    assert second == Outcome(0, "", "")


@pytest.mark.parametrize("dies", [0, 1])
def test_a_process_that_dies_ends_the_others_and_the_run_goes_on_alone(
    dies: int, launch: Launch, toy_pool: Path, tmp_path: Path
) -> None:
    command = ("run", toy_pool, "--budget", "11%", *FLAGS, "--epochs", "40", "--out", tmp_path / "run")
    outcomes = launch(2, *command, kill=dies, once=str(tmp_path / "run" / "proxy" / "step-*[0-9]"))
    assert outcomes[dies].code == -signal.SIGKILL
    other = outcomes[1 - dies]
    if dies == 1:
        assert other.code == 6
        assert other.error.startswith("error: another process of the launcher has ended, or cannot be reached (")
    else:
        assert other == Outcome(0, "", "")
    (again,) = launch(1, *command)
    assert again.code == 0, again.err
    assert "planned on 2 processes, now 1: the same up to floating-point noise" in again.err


def test_what_a_launcher_sets_for_trainers_is_out_of_sight_and_comes_back(monkeypatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setenv("WORLD_SIZE", "")
    with joined() as ranks:
        assert ranks == ALONE
        assert not [name for name in os.environ if name.startswith(("ACCELERATE_", "FSDP_"))]
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16"


def test_a_gradient_that_one_rank_alone_has_counts(launch, alone, tmp_path: Path) -> None:
    together = trained(launch, tmp_path, 2, extra=1)
    assert together["extra_gradient"] == [3.0]


def test_what_python_calls_is_for_one_process(toy_pool: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="one process"):
        select(toy_pool, "11%", out=tmp_path / "run")


def test_half_a_launcher_is_one_line(toy_pool: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = s2l("run", toy_pool, "--budget", "11%", *FLAGS, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "WORLD_SIZE is '2', but RANK, MASTER_ADDR and MASTER_PORT do not go with it" in outcome.error
