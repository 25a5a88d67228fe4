"""Least confidence: the rows of whose tokens the proxy is least sure (Bartoldson et al. 2023, arXiv 2210.06640).

Confidence is the mean over response tokens of the largest probability; with `of=target`, of the token's own.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost, of_one_model
from s2l.selection.scores import AT, CONFIDENCE, At, mean_at, ranked
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """Whose probability, and when."""

    of: Literal["predicted", "target"] = Field(
        "predicted", description="Probability of the likeliest token, or the true one."
    )
    at: At = Field("late", description=AT)


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """The lowest mean probability first."""
    return ranked(mean_at(recorded.trajectories, CONFIDENCE[settings.of], settings.at))


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """One model's scores."""
    return of_one_model(settings.at, steps)
