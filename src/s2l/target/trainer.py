"""TRL's SFTTrainer on our batches, our labels, our loss; on a CPU its steps are those of the proxy's training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from s2l.errors import MachineError, NumericsError
from s2l.progress import Advance
from s2l.proxy.plan import Plan
from s2l.proxy.ranks import launched
from s2l.proxy.step import NoMemoryError, Stepper, seed_all, seed_of
from s2l.proxy.train import Steps
from s2l.target.settings import TrainSettings

CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if name in SFTConfig.__dataclass_fields__
)
"""By the name that the installed transformers has for it; before 5.23 it was that of the gradients."""


def arguments_for(
    plan: Plan, passes: int, settings: TrainSettings, folder: Path, by_steps: bool, has_experts: bool
) -> SFTConfig:
    """TRL's settings for the plan: nothing of the rows is left to it.

    by_steps: a `Stepper` makes the gradients. has_experts: some weights may have none in a pass.
    """
    arguments = SFTConfig(
        output_dir=str(folder),
        max_steps=plan.steps,
        per_device_train_batch_size=1 if by_steps else settings.rows_at_once,
        gradient_accumulation_steps=passes,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        warmup_steps=plan.warmup_steps,
        lr_scheduler_type="cosine",
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        seed=plan.seed,
        use_cpu=plan.device == "cpu",
        ddp_find_unused_parameters=has_experts,
        ddp_backend="gloo" if plan.device == "cpu" and launched() else None,
        bf16=plan.precision == "bfloat16" and not by_steps,
        **{CHECKPOINTING: settings.activation_checkpointing},
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        average_tokens_across_devices=True,
        router_aux_loss_coef=0.0,
        save_strategy="no",
        save_total_limit=1,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=settings.report_to.split(","),
        dataloader_pin_memory=plan.device == "cuda",
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


class TargetTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer whose passes are given, rows and all; with a `Stepper` one item is one whole step.

    The loss of a step is Σ NLL / Σ response tokens of its global batch, on any number of devices and passes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        arguments: SFTConfig,
        plan: Plan,
        passes: list[list[int]],
        stepper: Stepper | None = None,
        **rest: Any,
    ) -> None:
        self.plan = plan
        self.passes = passes
        self.stepper = stepper
        self.seeded_step = -1
        super().__init__(model=model, args=arguments, **rest)
        self.model_accepts_loss_kwargs = True
        for callback in (ProgressCallback, PrinterCallback):
            self.remove_callback(callback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The passes of this device in order, by a generator of their own: the global one belongs to the training."""
        if self.stepper is not None:
            return DataLoader(Steps(self.plan.steps), collate_fn=_only_item, generator=torch.Generator())
        assert self.train_dataset is not None
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.passes,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
            generator=torch.Generator(),
        )

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Float[torch.Tensor, ""]:
        """Forward and backward of one pass; what it adds to the loss of its step, nats per response token.

        Random numbers hang on seed, step and device alone. Raises NumericsError where the loss is not finite.
        """
        step = self.state.global_step
        if self.stepper is not None:
            loss = self._step(self.stepper, step)
        else:
            if step != self.seeded_step:
                self.seeded_step = step
                seed_all(self.args.device, seed_of(self.plan.seed, step, self.args.process_index))
            loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise NumericsError(
                f"the training loss is not a finite number at step {step + 1}; train with a lower --learning-rate, or "
                "--precision float32"
            )
        return loss

    def _step(self, stepper: Stepper, step: int) -> Float[torch.Tensor, ""]:
        try:
            return stepper.lead(step, self.plan.batch_tokens)
        except NoMemoryError:
            raise MachineError("the machine has no memory for one pass; use a smaller --batch-tokens") from None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """As Trainer's own, which skips the tensors that `save_pretrained` renames (GPT-NeoX's head) and goes on."""
        if self.is_fsdp_enabled or not isinstance(self.model, PreTrainedModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = type(self.model).from_pretrained(
            resume_from_checkpoint, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
        self.model.load_state_dict(saved.state_dict())

    @property
    def losses(self) -> list[float]:
        """The loss of every step so far, those before a stop too."""
        return [entry["loss"] for entry in self.state.log_history if "loss" in entry]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Counted from shapes elsewhere."""
        del inputs
        return 0

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: what was trained on what is in `training.json`."""

    def _send_telemetry(self) -> None:
        """Nothing is sent anywhere."""


class Watch(TrainerCallback):
    """Tells how far the training is, and asks for a resume state after each of the planned steps."""

    def __init__(self, plan: Plan, tokens_S: Sequence[int], advance: Advance, saved: Callable[[], None]) -> None:
        self.saved = saved
        self.saves = frozenset(plan.saves)
        self.tokens_S = tokens_S
        self.advance = advance

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Tokens of the step that is done; a resume state if one is planned."""
        del args, kwargs
        control.should_save = state.global_step in self.saves
        self.advance(self.tokens_S[state.global_step - 1])
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Tell that all up to here is kept."""
        del args, kwargs
        if state.is_world_process_zero:
            self.saved()
        return control


def _only_item(items: list[dict[str, int]]) -> dict[str, int]:
    return items[0]
