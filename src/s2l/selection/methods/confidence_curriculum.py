"""Confidence curriculum: examples of decreasing confidence as training goes on (Varshney et al., arXiv 2205.09898).

S2L's paper compares with it and leaves its details open; ours: in round r of R (from 0) the proxy, trained from its
starting weights on the rows of all rounds before, reads every row, and the rows nearest in rank to the quantile
1 − (r + ½) / R of confidence, of those not yet chosen, are added. Confidence as in least-confidence.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from s2l.progress import Progress
from s2l.selection.cost import Cost
from s2l.selection.rounds import RoundSettings, announce, of_rounds, rows_after
from s2l.selection.scores import CONFIDENCE, asked_of, places, ranked
from s2l.types import Plan, Recorded


class Settings(RoundSettings):
    """How often the proxy is trained, and whose probability is its confidence."""

    of: Literal["predicted", "target"] = Field(
        "predicted", description="Probability of the likeliest token, or the true one."
    )


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """Round after round, the nearest to the round's quantile first; the proxy of the first round is untrained.

    The rounds share the largest budget asked for; smaller ones lie in it, and alone would have smaller rounds.
    """
    more = asked_of(recorded)
    stops = rows_after(recorded, settings.rounds)
    announce("confidence-curriculum", recorded, stops, len(stops), progress)
    chosen, waiting = np.empty(0, dtype=np.int64), np.arange(len(recorded))
    for round_, stop in enumerate(stops):
        confidence_N = more.means_after(CONFIDENCE[settings.of], chosen)
        waiting = waiting[nearest_first(confidence_N[waiting], 1 - (round_ + 0.5) / len(stops))]
        added, waiting = waiting[: stop - len(chosen)], waiting[stop - len(chosen) :]
        chosen, waiting = np.concatenate([chosen, added]), np.sort(waiting)
    return ranked(places(np.concatenate([chosen, waiting])), rounds=len(stops))


def nearest_first(values_n: Float[np.ndarray, " n"], quantile: float) -> Int[np.ndarray, " n"]:
    """Places of the values, the nearest in rank to their quantile first; ties, of values too, to the smaller place."""
    rank_n = np.empty(len(values_n))
    rank_n[np.argsort(values_n, kind="stable")] = np.arange(len(values_n)) + 0.5
    return np.argsort(np.abs(rank_n - quantile * len(values_n)), kind="stable")


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:  # noqa: ARG001
    """A pass for each round, and a training for each but the first."""
    return of_rounds(settings.rounds, settings.rounds)
