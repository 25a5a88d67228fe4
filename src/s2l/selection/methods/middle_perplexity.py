"""Middle perplexity: the rows around the median of perplexity (Marion et al. 2023, arXiv 2309.04564)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost, of_one_model
from s2l.selection.scores import AT, At, mean_at, ranked
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """Whose perplexity."""

    at: At = Field("late", description=AT)


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """The nearest to the middle rank of the mean loss first; alike losses are ranked by id."""
    losses_N = mean_at(recorded.trajectories, "nll", settings.at)
    rank_N = np.empty(len(losses_N))
    rank_N[np.argsort(losses_N, kind="stable")] = np.arange(len(losses_N))
    return ranked(np.abs(rank_N - (len(losses_N) - 1) / 2), median_perplexity=float(np.exp(np.median(losses_N))))


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """One model's scores."""
    return of_one_model(settings.at, steps)
