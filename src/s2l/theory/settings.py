"""What `s2l verify` can be asked; imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from s2l.config import Settings


class VerifySettings(Settings):
    """What to measure, on how many rows."""

    model: tuple[str, ...] = Field(
        (), description="A larger model to measure gradients on too: folder or hub id; several if repeated."
    )
    target_checkpoints: str | None = Field(
        None,
        description="Folder of checkpoints of a larger model trained on the pool (checkpoint-500, step-00000500): "
        "compares its trajectories with the proxy's.",
    )
    rows: int = Field(1000, ge=4, description="Rows whose gradients and trajectories are compared.")
    checkpoints: int = Field(3, ge=1, description="Checkpoints of the proxy, evenly picked, the last included.")
    dimensions: int = Field(
        1024, ge=64, le=16384, multiple_of=64, description="Numbers that a row's gradient is projected to."
    )
    budget: tuple[str, ...] = Field((), description="Budgets of S2L's subset; the run's own if not given.")
    draws: int = Field(
        20,
        ge=0,
        description="Random subsets to compare S2L's with; 0 leaves the mean gradient out, which takes longest.",
    )
    pool_rows: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Rows that stand for the pool where the mean gradient is measured; all if not given."
    )
    batch_tokens: Annotated[int, Field(ge=16)] | None = Field(
        None, description="Tokens in one pass; the run's own if not given."
    )
    device: str = Field("auto", description="auto, cpu, cuda, mps.")
    seed: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Of samples, projections and random subsets; the run's own if not given."
    )

    @field_validator("draws")
    @classmethod
    def _a_spread(cls, draws: int) -> int:
        if draws == 1:
            raise ValueError("one draw has no spread: take 2 at least, or 0")
        return draws
