"""What `s2l train` and `s2l evaluate` can be asked; imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from s2l.config import BUILTIN, Settings
from s2l.errors import SettingsError

PAPER = {"learning_rate": 2e-5, "batch_size": 128}
OWN = {"learning_rate": 2e-3, "batch_size": 32}


class TrainSettings(Settings):
    """The model to fine-tune, and how; None takes the paper's value, or that of a model from scratch."""

    model: str | None = Field(
        None,
        description="Hub id, local folder (also OUT of an earlier `s2l train`), or `builtin`: small, from scratch.",
    )
    revision: str | None = Field(None, description="Revision of the hub model.")
    match: Literal["epochs", "steps"] = Field(
        "epochs", description="epochs: of the chosen rows; steps: as many optimizer steps as all rows would get."
    )
    pool_rows: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Rows of the whole pool, for --match steps; the run's own if not given."
    )
    epochs: float = Field(3.0, gt=0, le=1000, description="Passes over the rows.")
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Peak of the cosine schedule (2e-5; builtin: 2e-3)."
    )
    batch_size: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Rows in a global batch (128; builtin: 32)."
    )
    warmup: float = Field(0.03, ge=0, lt=1, description="Share of the steps that warm up.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay.")
    template: Literal["auto", "alpaca", "short", "chat"] = Field(
        "auto", description="auto: the one the model was trained with by s2l, else the run's own, else as in `s2l run`."
    )
    max_length: int = Field(512, ge=2, description="Tokens a row may have; the rest is cut off on the right.")
    precision: Literal["float32", "bfloat16"] | None = Field(
        None, description="Of matrix products; bfloat16 on a GPU and float32 elsewhere, if not given."
    )
    lora_rank: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Train adapters of this rank (LoRA); all weights if not given."
    )
    lora_alpha: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Scale of the adapters, over their rank; twice the rank if not given."
    )
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in front of the adapters.")
    lora_targets: tuple[str, ...] = Field(
        (), description="Names of the layers that get adapters, with commas between; all linear ones if not given."
    )
    packing: bool = Field(False, description="Put rows end to end instead of padding them; they stay apart.")
    activation_checkpointing: bool = Field(
        False, description="Compute activations twice instead of keeping them: less memory, a third more time."
    )
    rows_at_once: int = Field(8, ge=1, description="Rows in one pass of a device; a batch takes several passes.")
    batch_tokens: Annotated[int, Field(ge=16)] | None = Field(
        None, description="Tokens in one pass, where a CPU trains all weights; 2048 if not given."
    )
    layers: int = Field(2, ge=1, le=48, description="Layers of the builtin model.")
    width: int = Field(96, ge=32, multiple_of=32, description="Width of the builtin model.")
    vocabulary: int = Field(4096, ge=300, le=65536, description="BPE of the builtin model, where there is no run.")
    resume_points: int = Field(
        10, ge=1, description="Equal parts of the training, after each of which a stop loses nothing."
    )
    report_to: str = Field("none", description="Trackers, with commas between: tensorboard, wandb, …")
    device: str = Field("auto", description="auto, cpu, cuda, mps; choose a GPU by CUDA_VISIBLE_DEVICES.")
    threads: Annotated[int, Field(ge=1)] | None = Field(None, description="CPU threads; all if not given.")
    seed: int = Field(0, ge=0, lt=2**32, description="Of the rows' order, of fresh weights and of dropout.")

    @field_validator("model", mode="before")
    @classmethod
    def _one_model(cls, model: Any) -> Any:
        if not isinstance(model, list | tuple):
            return model
        if len(model) != 1:
            raise SettingsError("--model: name one")
        return model[0]

    @field_validator("lora_targets", mode="before")
    @classmethod
    def _split(cls, written: Any) -> Any:
        return tuple(name.strip() for name in written.split(",")) if isinstance(written, str) else written

    def settled(self, name: Literal["learning_rate", "batch_size"]) -> float:
        """The value asked for, or the default that goes with the model."""
        asked: float | None = getattr(self, name)
        return (OWN if self.model == BUILTIN else PAPER)[name] if asked is None else asked

    def require(self) -> None:
        """Raise SettingsError where no model is named."""
        if self.model is None:
            raise SettingsError("say which model: --model NAME (a hub id, a folder, or builtin)")
