"""Cartography: rows that stay ambiguous, hard or easy while training (Swayamdipta et al. 2020, arXiv 2009.10795).

Confidence is the mean over checkpoints of a row's mean probability of its response tokens, variability the standard
deviation.
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
    """Where on the map."""

    region: Literal["ambiguous", "hard", "easy"] = Field(
        "ambiguous", description="First the most variable, the least confident, or the most confident."
    )


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """The farthest into the region first."""
    probability_NT = while_training(recorded.trajectories, "p_target")
    match settings.region:
        case "ambiguous":
            return ranked(-probability_NT.std(axis=1))
        case "hard":
            return ranked(probability_NT.mean(axis=1))
        case "easy":
            return ranked(-probability_NT.mean(axis=1))


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:  # noqa: ARG001
    """Training dynamics."""
    return of_trajectories(steps)
