"""A recorder in TRL's SFTTrainer, which puts a loss of its own over the model's forward."""

from pathlib import Path

import numpy as np
import pytest
from toy_trainings import sft, tiny_gpt2, tokens_of, trained

import s2l
from s2l.trajectories import store
from toy_models import loss_of_one_row

pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing`:FutureWarning")


def test_losses_and_weights_are_those_of_a_training_without_it(toy_pool: Path, tmp_path: Path) -> None:
    tiny_gpt2(tmp_path / "model")
    losses, weights = trained(sft(tmp_path / "model", tmp_path / "without"))
    recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", template="short", max_length=64, checkpoints=3)
    trainer = sft(tmp_path / "model", tmp_path / "with", recorder)
    their_losses, their_weights = trained(trainer)
    assert losses == their_losses and len(losses) == 12
    assert weights.equal(their_weights)
    tokens, losses_NT = tokens_of(tmp_path / "run"), store.load(tmp_path / "run" / "trajectories", [4, 8, 12]).losses_NT
    trainer.model.eval()
    rows = range(0, len(tokens), 29)
    own = [loss_of_one_row(trainer.model, tokens, row) for row in rows]
    np.testing.assert_allclose(losses_NT[rows, -1], own, atol=1e-5)
