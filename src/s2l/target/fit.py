"""One training, from the model in memory to the model on disk: TRL's trainer, its passes, its way to go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from s2l.errors import MachineError, SettingsError, shown
from s2l.files import full_disk_is_one_line, written_whole
from s2l.progress import Progress
from s2l.proxy.memory import is_out_of_memory
from s2l.proxy.plan import Plan, global_batches
from s2l.proxy.ranks import ALONE, launched
from s2l.proxy.step import Stepper
from s2l.proxy.train import RESUME, last_complete, own_randomness, step_of
from s2l.scoring.precision import plain_kernels
from s2l.target.model import MODEL, find_model, save_model, silence
from s2l.target.passes import as_dataset, keeps_rows_apart, passes_of, passes_per_step
from s2l.target.rows import TargetRows
from s2l.target.settings import TrainSettings
from s2l.target.trainer import TargetTrainer, Watch, arguments_for

LINEAR = "all-linear"
TENSORBOARD = "tensorboard"
GONE = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")


def fit(
    model: PreTrainedModel,
    rows: TargetRows,
    settings: TrainSettings,
    plan: Plan,
    out: Path,
    progress: Progress,
    saved: Callable[[], None],
) -> tuple[list[float], int]:
    """Train the model and keep it in `out`/model; the loss of every step, and how many parameters were trained.

    Goes on from the last complete resume state in `out`. saved: called after each of them.
    """
    batches = global_batches(rows.tokens.ids, plan)
    tokens_S = [int(rows.tokens.lengths[rows_B].sum()) for rows_B in batches]
    with (
        own_randomness(plan.device),
        silence(),
        full_disk_is_one_line(out),
        plain_kernels(plan.device, plan.precision),
        plan.cpu_threads(),
        _stepper(model, rows, settings, plan) as stepper,
        _one_line(),
    ):
        used_cache = model.config.use_cache
        trainer = _trainer(model, rows, settings, plan, stepper, out)
        trained = sum(int(weight.numel()) for weight in trainer.model.parameters() if weight.requires_grad)
        resume_from = _agreed(last_complete(out / RESUME) if trainer.is_world_process_zero() else None)
        done = step_of(resume_from) if resume_from else 0
        with progress.stage("train the target", sum(tokens_S[done:]), "tokens") as advance:
            trainer.add_callback(Watch(plan, tokens_S, advance, saved))
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        model.config.use_cache = used_cache
        _keep(trainer, rows, settings, out / MODEL)
        return trainer.losses, trained


@contextmanager
def _stepper(model: PreTrainedModel, rows: TargetRows, settings: TrainSettings, plan: Plan) -> Iterator[Stepper | None]:
    """What makes the gradients of a step where a CPU trains all weights, several times sooner than padded passes do.

    Made before TRL patches the model: its workers are copies.
    """
    other = settings.lora_rank or settings.packing or settings.activation_checkpointing
    if plan.device != "cpu" or other or launched():
        yield None
        return
    with closing(Stepper(model, rows.tokens, plan, ALONE)) as stepper:
        yield stepper


def _trainer(
    model: PreTrainedModel,
    rows: TargetRows,
    settings: TrainSettings,
    plan: Plan,
    stepper: Stepper | None,
    out: Path,
) -> TargetTrainer:
    rank, world = (int(os.environ.get(name) or default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    passes = 1 if stepper else passes_per_step(plan.batch_size, settings.rows_at_once, world)
    has_experts = hasattr(model.config.get_text_config(), "output_router_logits")
    dataset = as_dataset(rows.tokens)
    tokenizer = rows.tokenizer
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    collate = DataCollatorForLanguageModeling(pad_id, padding_free=settings.packing)
    if settings.packing and not keeps_rows_apart(model, dataset, rows.tokens, collate):
        raise SettingsError("--packing: this model's attention does not keep packed rows apart; leave it out")
    adapters = None
    if settings.lora_rank is not None:
        adapters = _adapters(settings)
        if plan.precision == "bfloat16":
            torch.nn.Module.to(model, torch.bfloat16)  # of weights that are not trained
    batches = global_batches(rows.tokens.ids, plan)
    given = [] if stepper else passes_of(rows.tokens, batches, passes, rank, world, settings.packing)
    rest = {"data_collator": collate, "train_dataset": dataset, "processing_class": tokenizer, "peft_config": adapters}
    try:
        arguments = arguments_for(plan, passes, settings, out / RESUME, stepper is not None, has_experts)
        arguments.run_name = str(out)
        trainer = TargetTrainer(model, arguments, plan, given, stepper, **rest)
    except (ValueError, ImportError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise SettingsError(f"the trainer turns this down: {shown(str(error).partition(chr(10))[0])}") from None
    for callback in trainer.callback_handler.callbacks:
        if getattr(callback, "logging_dir", "") is None:
            callback.logging_dir = str(out / TENSORBOARD)
    return trainer


def _adapters(settings: TrainSettings) -> Any:
    from peft import LoraConfig

    assert settings.lora_rank is not None
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.lora_targets) or LINEAR,
        task_type="CAUSAL_LM",
    )


def _keep(trainer: TargetTrainer, rows: TargetRows, settings: TrainSettings, folder: Path) -> None:
    """Write the trained model, by the first process; adapters name the model they belong to."""
    sharded = trainer.is_fsdp_enabled
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        if settings.lora_rank is not None:
            described = model.peft_config["default"]
            described.base_model_name_or_path = _lasting(str(settings.model), settings.revision)
            described.revision = settings.revision
        with written_whole(folder) as part:
            save_model(model, rows.tokenizer, rows.template, settings.max_length, part, state)
    trainer.accelerator.wait_for_everyone()
    if launched():
        torch.distributed.destroy_process_group()


def _lasting(name: str, revision: str | None) -> str:
    """A model's name that means the same in another directory, and to PEFT."""
    return str(find_model(name, revision).resolve()) if Path(name).is_dir() else name


def _agreed(path: Path | None) -> Path | None:
    """What the first process found, on all."""
    if not launched():
        return path
    said = [path]
    broadcast_object_list(said)
    return said[0]


@contextmanager
def _one_line() -> Iterator[None]:
    """A device that runs out of memory in the block, or another process that ends, is one line (MachineError)."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise MachineError(
                "the device has no memory for this training: use a smaller --rows-at-once, --activation-checkpointing, "
                "--lora-rank, or several devices"
            ) from None
        if launched() and isinstance(error, RuntimeError) and any(sign in str(error) for sign in GONE):
            raise MachineError("another process of the launcher has ended; run the same command again") from None
        raise
