"""Train the proxy on every row and save T checkpoints: transformers' Trainer, our batches, our loss."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from s2l.errors import NumericsError
from s2l.files import full_disk_is_one_line, read_json, remove
from s2l.progress import Advance, Progress
from s2l.proxy import checkpoints
from s2l.proxy.plan import Plan, global_batches
from s2l.proxy.quiet import quiet
from s2l.scoring.batching import Batch, collate, group_by_length
from s2l.scoring.forward import HeadPath, choose_path, response_logits
from s2l.types import Checkpoint, Tokens

RESUME = "resume"


def train(
    model: PreTrainedModel,
    tokens: Tokens,
    plan: Plan,
    folder: Path,
    progress: Progress,
    place: Callable[[int], str] | None = None,
) -> list[Checkpoint]:
    """Train `model` in place by `plan` and return its checkpoints, saved in `folder` at `plan.saves`.

    Goes on from the last complete resume state in `folder`, to the same weights as a run that was never stopped.
    A loss that is not finite raises NumericsError naming the row, by `place` if given.
    """
    resume_folder = folder / RESUME
    resume_from = _last_complete(resume_folder)
    done_steps = _step_of(resume_from) if resume_from else 0
    batches = global_batches(tokens.ids, plan)
    lengths_N = tokens.lengths
    total = int(sum(lengths_N[rows].sum() for rows in batches[done_steps:]))
    with (
        progress.stage("train the proxy", total, "tokens") as advance,
        _own_randomness(),
        quiet(),
        full_disk_is_one_line(resume_folder),
    ):
        trainer = ProxyTrainer(
            model=model,
            tokens=tokens,
            batches=batches,
            plan=plan,
            resume_folder=resume_folder,
            advance=advance,
            place=place,
        )
        trainer.add_callback(SaveCheckpoints(plan.saves, folder))
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    found = [checkpoints.find(folder, step) for step in plan.saves]
    return [checkpoint for checkpoint in found if checkpoint is not None]


class SaveCheckpoints(TrainerCallback):
    """Saves a checkpoint, and asks for a resume state, at each of the planned steps."""

    def __init__(self, saves: tuple[int, ...], folder: Path) -> None:
        self.saves = frozenset(saves)
        self.folder = folder

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Save if this step is planned; the resume state follows it, so none is newer than its checkpoints."""
        del args
        if state.global_step in self.saves:
            if state.is_world_process_zero:
                checkpoints.save(kwargs["model"], self.folder, state.global_step)
            control.should_save = True
        return control


class GlobalBatches(Dataset[dict[str, torch.Tensor]]):
    """One item per step: the rows of its global batch."""

    def __init__(self, batches: list[Int[np.ndarray, " _"]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        return {"rows": torch.from_numpy(self.batches[step])}


class ProxyTrainer(Trainer):
    """Trainer whose step is one global batch, cut into micro-batches of rows of similar length.

    Loss: Σ NLL / Σ response tokens over the global batch, however it is cut.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokens: Tokens,
        batches: list[Int[np.ndarray, " _"]],
        plan: Plan,
        resume_folder: Path,
        advance: Advance,
        place: Callable[[int], str] | None = None,
    ) -> None:
        self.place = place or (lambda row: f"row {tokens.ids[row].decode()}")
        self.proxy = model
        self.tokens = tokens
        self.plan = plan
        self.advance = advance
        self.head_path: HeadPath | None = None
        arguments = TrainingArguments(
            output_dir=str(resume_folder),
            max_steps=plan.steps,
            per_device_train_batch_size=1,
            learning_rate=plan.learning_rate,
            weight_decay=plan.weight_decay,
            warmup_steps=plan.warmup_steps,
            lr_scheduler_type="cosine",
            optim="adamw_torch",
            max_grad_norm=1.0,
            seed=plan.seed,
            use_cpu=plan.device == "cpu",
            save_strategy="no",
            save_total_limit=1,
            logging_strategy="no",
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            report_to="none",
            dataloader_pin_memory=False,
        )
        if arguments.n_gpu > 1:
            arguments._n_gpu = 1
        super().__init__(model=model, args=arguments, train_dataset=GlobalBatches(batches))
        for callback in (ProgressCallback, PrinterCallback):
            self.remove_callback(callback)

    def get_train_dataloader(self) -> DataLoader[dict[str, torch.Tensor]]:
        """The global batches in order, by a generator of their own: the global one belongs to the training."""
        assert self.train_dataset is not None
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=_only_item, generator=torch.Generator())

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Float[torch.Tensor, ""]:
        """Forward and backward of one global batch; returns its loss, nats per response token."""
        del num_items_in_batch
        model.train()
        rows_B = inputs["rows"].cpu().numpy()
        lengths_B = self.tokens.start_N[rows_B + 1] - self.tokens.start_N[rows_B]
        batches = [collate(self.tokens, rows_B[b]) for b in group_by_length(lengths_B, self.plan.batch_tokens)]
        response_tokens = sum(len(batch.target_R) for batch in batches)
        total = torch.zeros((), device=self.args.device)
        for batch in (batch.to(self.args.device) for batch in batches):
            self.head_path = self.head_path or choose_path(self.proxy, batch)
            with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.plan.precision == "bfloat16"):
                logits_RV, target_R = next(response_logits(self.proxy, batch, self.head_path))
            loss = cross_entropy(logits_RV, target_R, reduction="sum") / response_tokens
            self.accelerator.backward(loss)
            total += loss.detach()
        if not torch.isfinite(total):
            raise NumericsError(
                f"the proxy's training loss is not a finite number at step {self.state.global_step + 1}; "
                f"{self._first_unsound(batches)}train with a lower --learning-rate, or --precision float32"
            )
        self.advance(int(lengths_B.sum()))
        return total

    @torch.no_grad()
    def _first_unsound(self, batches: list[Batch]) -> str:
        """Which row's loss is not finite, for the message; empty where only the sum is not."""
        for batch in (batch.to(self.args.device) for batch in batches):
            logits_RV, target_R = next(response_logits(self.proxy, batch, self.head_path or "whole"))
            unsound_R = ~cross_entropy(logits_RV, target_R, reduction="none").isfinite().cpu().numpy()
            if unsound_R.any():
                row = np.repeat(batch.rows_B, batch.count_B)[unsound_R.argmax()]
                return f"first seen in {self.place(int(row))}; "
        return ""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """As Trainer's own, which skips the tensors that `save_pretrained` renames (GPT-NeoX's head) and goes on."""
        del model
        saved = type(self.proxy).from_pretrained(
            resume_from_checkpoint, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
        self.proxy.load_state_dict(saved.state_dict())

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not estimated."""
        del inputs
        return 0


def _only_item(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return items[0]


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Whatever Trainer does to the global generators is undone."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def _step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _last_complete(resume_folder: Path) -> Path | None:
    """The newest resume state that was written to its end; Trainer writes in place, trainer_state.json last."""
    complete: list[Path] = []
    for path in resume_folder.glob("checkpoint-*"):
        if not re.fullmatch(r"checkpoint-\d+", path.name):
            continue
        try:
            whole = read_json(path / "trainer_state.json")["global_step"] == _step_of(path)
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if whole:
            complete.append(path)
        else:
            remove(path)
    return max(complete, key=_step_of, default=None)
