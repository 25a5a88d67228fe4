"""AUM: rows by the area under their margin, low where the label is likely wrong (Pleiss et al. 2020, arXiv 2001.10528).

The margin of a token is its logit less the largest other one; averaged over response tokens and checkpoints.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost, of_trajectories
from s2l.selection.scores import ranked, while_training
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """Which end."""

    first: Literal["high", "low"] = Field("high", description="Which rows come first: the paper drops the lowest.")


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """By the mean margin."""
    area_N = while_training(recorded.trajectories, "margin").mean(axis=1)
    return ranked(area_N if settings.first == "low" else -area_N)


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:  # noqa: ARG001
    """Training dynamics."""
    return of_trajectories(steps)
