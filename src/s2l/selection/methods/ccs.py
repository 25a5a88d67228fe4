"""CCS: evenly over strata of difficulty, the hardest rows left out; coverage-centric (arXiv 2210.15809).

Zheng et al. 2023 drop the hardest β of the rows, cut the range of what is left into k strata of equal width, and share
the budget over them, smallest first, uniformly at random inside each.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection import keyed
from s2l.selection.cost import Cost, of_one_model, of_trajectories
from s2l.selection.scores import mean_at, while_training
from s2l.types import Plan, Recorded, Trajectories


class Settings(config.Settings):
    """What is difficult, how finely, and how much of it is too much."""

    score: Literal["aum", "el2n", "loss"] = Field(
        "aum", description="Difficulty: low margin (the paper), early error, or the loss at the end."
    )
    strata: int = Field(50, ge=1, description="Strata k, of equal width.")
    cut: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="Share β of the rows, the hardest, that come last; the paper searches it for every budget."
    )


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """Strata as groups, ranked inside by a number keyed by (seed, id); the hardest rows last of all."""
    n_rows = len(recorded)
    difficulty_N = _difficulty(settings.score, recorded.trajectories)
    last_N = np.zeros(n_rows, dtype=bool)
    last_N[np.argsort(-difficulty_N, kind="stable")[: min(int(round(settings.cut * n_rows, 6)), n_rows - 1)]] = True
    low, high = difficulty_N[~last_N].min(), difficulty_N[~last_N].max()
    width = (high - low) / settings.strata or 1.0
    stratum_N = np.clip(np.floor((difficulty_N - low) / width), 0, settings.strata - 1).astype(np.int64)
    return Plan(
        group_N=stratum_N,
        score_N=keyed.uniform(keyed.keys(seed, "ccs", recorded.trajectories.ids)),
        distance_N=np.full(n_rows, np.nan),
        last_N=last_N,
        group_word="stratum",
        facts={"strata": settings.strata, "too_hard": int(last_N.sum())},
    )


def _difficulty(score: str, trajectories: Trajectories) -> Float[np.ndarray, " N"]:
    match score:
        case "aum":
            area_N: Float[np.ndarray, " N"] = while_training(trajectories, "margin").mean(axis=1)
            return -area_N
        case "el2n":
            return mean_at(trajectories, "el2n", "early")
        case _:
            return mean_at(trajectories, "nll", "late")


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """That of the difficulty."""
    return (
        of_one_model("early" if settings.score == "el2n" else "late", steps)
        if settings.score != "aum"
        else of_trajectories(steps)
    )
