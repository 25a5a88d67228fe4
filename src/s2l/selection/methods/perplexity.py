"""Perplexity: the rows of lowest, or of highest, perplexity (Marion et al. 2023, arXiv 2309.04564)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost, of_one_model
from s2l.selection.scores import AT, At, mean_at, ranked
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """Which end, and whose perplexity."""

    first: Literal["low", "high"] = Field("low", description="Which rows come first.")
    at: At = Field("late", description=AT)


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """By the mean loss, whose exponential is the perplexity."""
    losses_N = mean_at(recorded.trajectories, "nll", settings.at)
    return ranked(losses_N if settings.first == "low" else -losses_N)


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """One model's scores."""
    return of_one_model(settings.at, steps)
