"""Training as we do it equals transformers' plain Trainer on padded batches of the same rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, Trainer, TrainingArguments

from s2l.config import ProxySettings
from s2l.proxy.plan import Plan, global_batches, make_plan
from s2l.proxy.quiet import quiet
from s2l.proxy.ranks import ALONE
from s2l.proxy.step import Stepper
from s2l.proxy.train import ProxyTrainer
from toy_models import toy_model, toy_tokens

TOKENS = toy_tokens(48)
SETTINGS = ProxySettings(model="builtin", batch_size=8, epochs=1, learning_rate=1e-3, checkpoints=1)
PLAN: Plan = make_plan(48, SETTINGS, batch_tokens=150, threads=1, device="cpu", seed=0)


def trained(trainer: Trainer) -> tuple[list[float], torch.Tensor]:
    """The loss of every step, and the weights after the last."""
    step, losses = trainer.training_step, []

    def watched(*given, **named) -> torch.Tensor:
        losses.append(step(*given, **named))
        return losses[-1]

    trainer.training_step = watched
    with quiet(), torch.random.fork_rng():
        trainer.train()
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
    return torch.stack(losses).tolist(), weights


def plain(model: PreTrainedModel, folder: Path) -> Trainer:
    rows = []
    for row in np.concatenate(global_batches(TOKENS.ids, PLAN)):
        span = slice(*TOKENS.start_N[row : row + 2])
        input_ids = torch.from_numpy(TOKENS.input_ids[span].astype(np.int64))
        rows.append((input_ids, input_ids.masked_fill(~torch.from_numpy(TOKENS.counted[span]), -100)))

    def padded(batch: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        input_ids, labels = zip(*batch, strict=True)
        pad = torch.nn.utils.rnn.pad_sequence
        return {
            "input_ids": pad(input_ids, batch_first=True),
            "labels": pad(labels, batch_first=True, padding_value=-100),
            "attention_mask": pad([torch.ones_like(ids) for ids in input_ids], batch_first=True),
        }

    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=PLAN.steps,
        per_device_train_batch_size=PLAN.batch_size,
        train_sampling_strategy="sequential",
        learning_rate=PLAN.learning_rate,
        warmup_steps=PLAN.warmup_steps,
        lr_scheduler_type="cosine",
        optim="adamw_torch_fused",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    return Trainer(model, arguments, padded, train_dataset=rows)


@pytest.mark.parametrize("architecture", ["builtin", "llama-tied", "qwen3", "gemma2-soft-capped", "granite-scaled"])
@pytest.mark.parametrize("workers", [1, 2])
def test_losses_and_weights_are_those_of_the_plain_trainer(architecture: str, workers: int, tmp_path: Path) -> None:
    stepper = Stepper(toy_model(architecture), TOKENS, replace(PLAN, workers=workers), ALONE)
    ours, our_weights = trained(ProxyTrainer(stepper, tmp_path, lambda _tokens: None))
    stepper.close()
    theirs, their_weights = trained(plain(toy_model(architecture), tmp_path))
    assert len(ours) == PLAN.steps
    np.testing.assert_allclose(ours, theirs, atol=2e-6, rtol=0)
    torch.testing.assert_close(our_weights, their_weights, atol=1e-5, rtol=0)
