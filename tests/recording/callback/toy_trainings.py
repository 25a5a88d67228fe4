"""Trainings of a tiny GPT-2 with dropout on the toy pool, with or without a recorder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from s2l.data.tokens import load_tokens
from s2l.proxy.builtin import fit_tokenizer
from s2l.proxy.load import load_tokenizer
from s2l.proxy.quiet import quiet
from s2l.types import Tokens
from toy_runs import toy_rows

ROWS = 24
"""Rows that are trained on; the pool that is recorded is larger."""
STEPS, CHECKPOINTS = 12, 4
PLAIN: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "num_train_epochs": 2,
    "learning_rate": 1e-3,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
    "logging_strategy": "no",
    "dataloader_pin_memory": False,
}
"""Two epochs by four rows, on the CPU, in silence."""


class Stop(TrainerCallback):
    """The user presses Ctrl-C behind a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


class Naive(Trainer):
    """A Trainer that writes down every row's loss in every forward pass."""

    def __init__(self, *args, **given) -> None:
        super().__init__(*args, **given)
        self.passes: list[tuple[tuple[int, ...], float]] = []

    def compute_loss(self, model, inputs, return_outputs=False, **given):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **given)
        with torch.no_grad():
            for ids, mask, logits in zip(inputs["input_ids"], inputs["attention_mask"], outputs.logits, strict=True):
                row = ids[mask == 1]
                nll = torch.nn.functional.cross_entropy(logits[: len(row) - 1], row[1:], reduction="sum")
                self.passes.append((tuple(row.tolist()), float(nll)))
        return (loss, outputs) if return_outputs else loss


def tiny_gpt2(folder: Path) -> Path:
    """A folder as the hub has them: a GPT-2 of random weights, dropout 0.1, and a tokenizer fitted on the toy pool."""
    tokenizer = fit_tokenizer((row["instruction"] + row["output"] for row in toy_rows()), 400)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=256, bos_token_id=end, eos_token_id=end
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def padded(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Rows of input ids as one batch; everything but the padding counts."""
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(ids, batch_first=True),
        "labels": pad(ids, batch_first=True, padding_value=-100),
        "attention_mask": pad([torch.ones_like(row) for row in ids], batch_first=True),
    }


def trainer_of(
    model: Path, out: Path, *callbacks: TrainerCallback, kind: type[Trainer] = Trainer, **arguments: Any
) -> Trainer:
    """Two epochs of 24 rows by 4: 12 steps."""
    with quiet():
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(model)
    texts = [f"{row['instruction']} {row['output']}" for row in toy_rows()[:ROWS]]
    return kind(
        model=loaded,
        args=TrainingArguments(output_dir=str(out), **{**PLAIN, **arguments}),
        train_dataset=[{"input_ids": ids} for ids in tokenizer(texts)["input_ids"]],
        data_collator=padded,
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )


def sft(model: Path, out: Path, *callbacks: TrainerCallback, **arguments: Any) -> SFTTrainer:
    """The same in TRL's trainer: prompts do not count, and its loss has no logits."""
    rows = [{"prompt": row["instruction"], "completion": row["output"]} for row in toy_rows()[:ROWS] if row["output"]]
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=SFTConfig(output_dir=str(out), **{**PLAIN, "bf16": False, **arguments}),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=load_tokenizer(model),
        callbacks=list(callbacks),
    )


def trained(trainer: Trainer, **how: Any) -> tuple[list[float], torch.Tensor]:
    """The loss of every micro-batch, and the weights after the last."""
    step, losses = trainer.training_step, []

    def watched(*given: Any, **named: Any) -> torch.Tensor:
        losses.append(step(*given, **named))
        return losses[-1]

    trainer.training_step = watched
    with quiet():
        trainer.train(**how)
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
    return torch.stack(losses).tolist(), weights


def tokens_of(run: Path) -> Tokens:
    """The run's tokens, not mapped but in memory."""
    tokens = load_tokens(run / "tokens.arrow")
    return replace(tokens, counted=tokens.counted.copy())
