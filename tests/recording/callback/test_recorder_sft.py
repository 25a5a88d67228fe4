"""A recorder in TRL's SFTTrainer, which puts a loss of its own over the model's forward."""

from pathlib import Path

import datasets
import numpy as np
import pytest
from toy_trainings import ROWS, tiny_gpt2, tokens_of, trained
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

import s2l
from s2l.proxy.load import load_tokenizer
from s2l.trajectories import store
from toy_models import loss_of_one_row
from toy_runs import toy_rows

pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing`:FutureWarning")


def trainer_of(folder: Path, name: str, *callbacks: s2l.TrajectoryRecorder) -> SFTTrainer:
    rows = [{"prompt": row["instruction"], "completion": row["output"]} for row in toy_rows()[:ROWS] if row["output"]]
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "model"),
        args=SFTConfig(
            output_dir=str(folder / name),
            per_device_train_batch_size=4,
            num_train_epochs=2,
            learning_rate=1e-3,
            bf16=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            logging_strategy="no",
            dataloader_pin_memory=False,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=load_tokenizer(folder / "model"),
        callbacks=list(callbacks),
    )


def test_losses_and_weights_are_those_of_a_training_without_it(toy_pool: Path, tmp_path: Path) -> None:
    tiny_gpt2(tmp_path / "model")
    losses, weights = trained(trainer_of(tmp_path, "without"))
    recorder = s2l.TrajectoryRecorder(toy_pool, tmp_path / "run", template="short", max_length=64, checkpoints=3)
    trainer = trainer_of(tmp_path, "with", recorder)
    their_losses, their_weights = trained(trainer)
    assert losses == their_losses and len(losses) == 12
    assert weights.equal(their_weights)
    tokens, losses_NT = tokens_of(tmp_path / "run"), store.load(tmp_path / "run" / "trajectories", [4, 8, 12]).losses_NT
    trainer.model.eval()
    rows = range(0, len(tokens), 29)
    own = [loss_of_one_row(trainer.model, tokens, row) for row in rows]
    np.testing.assert_allclose(losses_NT[rows, -1], own, atol=1e-5)
