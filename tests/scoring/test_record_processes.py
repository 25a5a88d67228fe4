"""Recording by several processes: the same bytes as by one, whatever dies."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from s2l.config import ProxySettings
from s2l.data.tokens import load_tokens, save_tokens
from s2l.engines import local
from s2l.errors import NumericsError
from s2l.progress import SILENT, Progress
from s2l.proxy import checkpoints
from s2l.proxy.plan import Plan, make_plan
from s2l.scoring.record import record
from s2l.trajectories import store
from s2l.types import Checkpoint
from toy_models import toy_model, toy_tokens
from toy_runs import files_of, run_of

ROWS = 120
PLAN: Plan = make_plan(ROWS, ProxySettings(model="builtin"), batch_tokens=100, threads=2, device="cpu", seed=0)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 50, 50 and 20 rows."""
    monkeypatch.setattr(store, "SHARD_ROWS", 50)


@pytest.fixture
def saved(tmp_path: Path, small_shards: None) -> list[Checkpoint]:
    return [checkpoints.save(toy_model(seed=step), tmp_path / "proxy", step) for step in (1, 2)]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[Any]]:
    """The processes started so far."""
    started: list[subprocess.Popen[Any]] = []

    class Noted(subprocess.Popen[Any]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(local.subprocess, "Popen", Noted)
    return started


class Killer:
    """Kills all processes when the first of them tells of units; sums up the units told."""

    def __init__(self, started: list[subprocess.Popen[Any]]) -> None:
        self.started, self.total, self.told = started, 0, [0]

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        def advance(units: int) -> None:
            if len(self.told) == 1:
                for process in self.started:
                    os.kill(process.pid, signal.SIGKILL)
            self.told.append(units)

        self.total = total or 0
        yield advance

    def note(self, line: str) -> None:
        """Nothing to tell."""


def sums(saved: list[Checkpoint], folder: Path, processes: int, progress: Progress = SILENT) -> dict[str, str]:
    """Digests of the files written by so many processes."""
    path = folder / "tokens.arrow"
    save_tokens(toy_tokens(ROWS), path)
    place = "pool.jsonl:{}".format
    record(load_tokens(path), saved, PLAN, folder / "sums", progress, place, stored=path, processes=processes)
    return files_of(folder / "sums")


def test_one_process_is_this_one(saved: list[Checkpoint], tmp_path: Path, started: list[Any]) -> None:
    assert len(sums(saved, tmp_path, processes=1)) == 7  # six shards, and how they were scored
    assert started == []


def test_several_processes_and_deaths_leave_the_same_bytes(
    saved: list[Checkpoint], tmp_path: Path, started: list[Any]
) -> None:
    one = sums(saved, tmp_path / "one", processes=1)
    assert sums(saved, tmp_path / "three", processes=3) == one
    assert len(started) == 3

    started.clear()
    killer = Killer(started)
    assert sums(saved, tmp_path / "two", processes=2, progress=killer) == one
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2 + [0] * 2
    assert min(killer.told) < 0, "none was struck in the midst of an item"
    assert sum(killer.told) == killer.total


def test_a_loss_that_is_not_finite_is_the_same_line_from_a_process(saved: list[Checkpoint], tmp_path: Path) -> None:
    model = toy_model()
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    broken = checkpoints.save(model, tmp_path / "broken", 2)
    with pytest.raises(NumericsError, match=r"^pool\.jsonl:\d+: the proxy's loss is not a finite number"):
        sums([saved[0], broken], tmp_path, processes=2)


def test_a_run_goes_on_with_another_number_of_processes(toy_pool: Path, own_run: Path) -> None:
    before = files_of(own_run / "trajectories")
    shutil.rmtree(own_run / "trajectories")
    (own_run / "manifest.json").unlink()
    outcome = run_of(toy_pool, own_run, "--with-random", "--processes", "2", budget="11%")
    assert outcome.code == 0, outcome.err
    assert files_of(own_run / "trajectories") == before
