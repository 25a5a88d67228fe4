"""Recording: every missing (checkpoint, shard) once, none twice, none from a loss that is not finite."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from s2l.config import ProxySettings
from s2l.errors import NumericsError, RunFolderError
from s2l.progress import SILENT, Progress
from s2l.proxy import checkpoints
from s2l.proxy.plan import Plan, make_plan
from s2l.scoring.record import record
from s2l.trajectories import store
from s2l.types import Checkpoint, Trajectories
from toy_models import loss_of_one_row, toy_model, toy_tokens

TOKENS = toy_tokens(10)
SETTINGS = ProxySettings(model="builtin", width=64)
PLAN: Plan = make_plan(len(TOKENS), SETTINGS, batch_tokens=50, threads=1, device="cpu", seed=0)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows in a shard, so that ten rows make four."""
    monkeypatch.setattr(store, "SHARD_ROWS", 3)


@pytest.fixture
def saved(tmp_path: Path) -> list[Checkpoint]:
    return [checkpoints.save(toy_model(seed=step), tmp_path / "proxy", step) for step in (1, 2)]


def recorded(saved: list[Checkpoint], tmp_path: Path, progress: Progress = SILENT) -> Trajectories:
    return record(TOKENS, saved, PLAN, tmp_path / "sums", progress, lambda row: f"pool.jsonl:{row + 1}")


class Counted:
    """Tokens announced and told; stops after so many batches."""

    def __init__(self, batches: int = -1) -> None:
        self.batches, self.total, self.told = batches, 0, 0

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        def advance(units: int) -> None:
            if self.batches == 0:
                raise KeyboardInterrupt
            self.batches -= 1
            self.told += units

        self.total = total or 0
        yield advance

    def note(self, line: str) -> None:
        """Nothing to tell."""


def test_losses_are_those_of_the_checkpoints(saved: list[Checkpoint], tmp_path: Path) -> None:
    losses_NT = recorded(saved, tmp_path).losses_NT
    expected = [[loss_of_one_row(toy_model(seed=step), TOKENS, row) for step in (1, 2)] for row in range(len(TOKENS))]
    np.testing.assert_allclose(losses_NT, expected, atol=1e-5, rtol=0)


def test_a_stopped_recording_goes_on_where_it_was(saved: list[Checkpoint], tmp_path: Path) -> None:
    unstopped = recorded(saved, tmp_path / "unstopped")
    whole = int(TOKENS.lengths.sum()) * 2
    totals = []
    for batches in (1, 3, 4, 0, -1):
        progress = Counted(batches)
        with suppress(KeyboardInterrupt):
            result = recorded(saved, tmp_path, progress)
        totals.append(progress.total)
    assert totals[0] == whole
    assert totals == sorted(totals, reverse=True)
    assert 0 < totals[-1] < whole
    assert progress.told == progress.total
    assert all(np.array_equal(result.sums[name], unstopped.sums[name]) for name in result.sums)


def test_nothing_is_scored_twice(saved: list[Checkpoint], tmp_path: Path) -> None:
    first, progress = recorded(saved, tmp_path), Counted(0)
    again = recorded(saved, tmp_path, progress)
    assert progress.total == 0
    assert np.array_equal(first.losses_NT, again.losses_NT)


def test_a_loss_that_is_not_finite_leaves_no_file_of_its_shard(saved: list[Checkpoint], tmp_path: Path) -> None:
    model = toy_model()
    rows = [set(TOKENS.input_ids[TOKENS.start_N[row] : TOKENS.start_N[row + 1]].tolist()) for row in range(10)]
    rare = next(i for row in range(3, 6) for i in rows[row] if not any(i in rows[k] for k in range(3)))
    with torch.no_grad():
        model.get_input_embeddings().weight[rare] = float("nan")
    broken = checkpoints.save(model, tmp_path / "broken", 2)
    with pytest.raises(NumericsError, match=r"^pool\.jsonl:[456]: the proxy's loss is not a finite number"):
        recorded([saved[0], broken], tmp_path)
    written = {str(path.relative_to(tmp_path / "sums")) for path in (tmp_path / "sums").rglob("*.parquet*")}
    assert written == {f"step-00000001/shard-0000{k}.parquet" for k in range(4)} | {"step-00000002/shard-00000.parquet"}


def test_sums_of_a_proxy_trained_anew_do_not_mix_with_the_old(saved: list[Checkpoint], tmp_path: Path) -> None:
    recorded(saved, tmp_path)
    with pytest.raises(RunFolderError, match="recorded from another checkpoint"):
        recorded([replace(saved[0], sha256="0" * 64), saved[1]], tmp_path)


def test_a_damaged_checkpoint_is_one_line(saved: list[Checkpoint], tmp_path: Path) -> None:
    (saved[1].path / "model.safetensors").unlink()
    with pytest.raises(RunFolderError, match="this checkpoint is damaged or missing"):
        recorded(saved, tmp_path)
