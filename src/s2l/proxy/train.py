"""Train the proxy on every row and save T checkpoints: transformers' Trainer, our batches, our loss."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
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

from s2l.errors import MachineError, NumericsError
from s2l.files import full_disk_is_one_line, read_json, remove
from s2l.progress import Advance, Progress
from s2l.proxy import checkpoints
from s2l.proxy.plan import Plan
from s2l.proxy.quiet import quiet
from s2l.proxy.ranks import ALONE, Ranks
from s2l.proxy.step import NoMemoryError, Stepper
from s2l.scoring.precision import plain_kernels
from s2l.types import Checkpoint, Tokens

RESUME = "resume"


def train(
    model: PreTrainedModel,
    tokens: Tokens,
    plan: Plan,
    folder: Path,
    progress: Progress,
    place: Callable[[int], str] | None = None,
    ranks: Ranks = ALONE,
) -> list[Checkpoint]:
    """Train `model` in place by `plan` and return its checkpoints, saved in `folder` at `plan.saves`.

    Goes on from the last complete resume state in `folder`, to the same weights as a run that was never stopped.
    A loss that is not finite raises NumericsError naming the row, by `place` if given. Where memory runs out, the plan
    in `folder` tells from which step on the batches are cut smaller. Other `ranks` must follow (`Stepper.follow`).
    """
    resume_folder = folder / RESUME
    resume_from = last_complete(resume_folder)
    done_steps = step_of(resume_from) if resume_from else 0
    with (
        own_randomness(plan.device),
        quiet(),
        full_disk_is_one_line(resume_folder),
        plain_kernels(plan.device, plan.precision),
        closing(Stepper(model, tokens, plan, ranks)) as stepper,
        progress.stage("train the proxy", stepper.tokens_from(done_steps), "tokens") as advance,
    ):
        trainer = ProxyTrainer(stepper, folder, advance, place)
        trainer.add_callback(SaveCheckpoints(plan.saves, folder))
        try:
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        finally:
            stepper.finish()
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


class Steps(Dataset[dict[str, int]]):
    """One item per step: its number, from 0."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, int]:
        return {"step": step}


class ProxyTrainer(Trainer):
    """Trainer whose step is one global batch, its gradients computed by a `Stepper`."""

    def __init__(
        self,
        stepper: Stepper,
        folder: Path,
        advance: Advance,
        place: Callable[[int], str] | None = None,
    ) -> None:
        tokens, plan = stepper.tokens, stepper.plan
        self.stepper = stepper
        self.folder = folder
        self.plan = plan
        self.advance = advance
        self.place = place or (lambda row: f"row {tokens.ids[row].decode()}")
        arguments = TrainingArguments(
            output_dir=str(folder / RESUME),
            max_steps=plan.steps,
            per_device_train_batch_size=1,
            learning_rate=plan.learning_rate,
            weight_decay=plan.weight_decay,
            warmup_steps=plan.warmup_steps,
            lr_scheduler_type="cosine",
            optim="adamw_torch_fused",
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
        super().__init__(model=stepper.model, args=arguments, train_dataset=Steps(plan.steps))
        for callback in (ProgressCallback, PrinterCallback):
            self.remove_callback(callback)

    def get_train_dataloader(self) -> DataLoader[dict[str, int]]:
        """The steps in order, by a generator of their own: the global one belongs to the training."""
        assert self.train_dataset is not None
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=_only_item, generator=torch.Generator())

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Float[torch.Tensor, ""]:
        """Forward and backward of one global batch; returns its loss, nats per response token.

        Where memory runs out the step is done again with half the tokens at once, and the plan says so from then on.
        """
        del model, num_items_in_batch
        step: int = inputs["step"]
        rows_B = self.stepper.batches[step]
        lengths_B = self.stepper.lengths_N[rows_B]
        while True:
            batch_tokens = self.plan.batch_tokens_at(step)
            try:
                loss = self.stepper.lead(step, batch_tokens)
                break
            except NoMemoryError:
                longest = int(lengths_B.max())
                if batch_tokens <= longest:
                    raise MachineError(
                        f"the device has no memory for one row of {longest:,} tokens; use a smaller --proxy or "
                        "--max-length (and --out)"
                    ) from None
            self.plan = self.plan.halved_at(step)
            self.plan.write(self.folder)
        if not torch.isfinite(loss):
            row = self.stepper.first_unsound(step, batch_tokens)
            seen = f"first seen in {self.place(row)}; " if row is not None else ""
            raise NumericsError(
                f"the proxy's training loss is not a finite number at step {step + 1}; "
                f"{seen}train with a lower --learning-rate, or --precision float32"
            )
        self.advance(int(lengths_B.sum()))
        return loss

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """As Trainer's own, which skips the tensors that `save_pretrained` renames (GPT-NeoX's head) and goes on."""
        del model
        proxy = self.stepper.model
        saved = type(proxy).from_pretrained(
            resume_from_checkpoint, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
        proxy.load_state_dict(saved.state_dict())

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not estimated."""
        del inputs
        return 0


def _only_item(items: list[dict[str, int]]) -> dict[str, int]:
    return items[0]


@contextmanager
def own_randomness(device: str) -> Iterator[None]:
    """Whatever Trainer does to the global generators is undone."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([torch.cuda.current_device()] if device == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def step_of(path: Path) -> int:
    """The step after which a resume state was written, from its name."""
    return int(path.name.rpartition("-")[2])


def last_complete(resume_folder: Path) -> Path | None:
    """The newest resume state that was written to its end; Trainer writes in place, trainer_state.json last."""
    complete: list[Path] = []
    for path in resume_folder.glob("checkpoint-*"):
        if not re.fullmatch(r"checkpoint-\d+", path.name):
            continue
        try:
            whole = read_json(path / "trainer_state.json")["global_step"] == step_of(path)
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if whole:
            complete.append(path)
        else:
            remove(path)
    return max(complete, key=step_of, default=None)
