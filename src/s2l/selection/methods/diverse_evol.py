"""DiverseEvol: in rounds, each adding the rows farthest from those before, as the proxy trained on them sees it.

Wu et al. 2023 (arXiv 2311.08182): the first rows are random; then the proxy is trained from its starting weights on all
rows chosen so far, embeds every row, and farthest-first (k-center) goes on from them. The paper has ten rounds.
Embeddings are mean last hidden states over response tokens, compared by direction.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from s2l.progress import Progress
from s2l.selection import keyed
from s2l.selection.cost import Cost
from s2l.selection.greedy import k_center
from s2l.selection.rounds import RoundSettings, announce, of_rounds, rows_after
from s2l.selection.scores import asked_of, places, ranked
from s2l.selection.unit import directions
from s2l.types import Plan, Recorded


class Settings(RoundSettings):
    """How often the proxy is trained."""


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:
    """Round after round: the first by numbers keyed by (seed, id), the others farthest-first.

    The rounds share the largest budget asked for; smaller ones lie in it, and alone would have smaller rounds.
    """
    more = asked_of(recorded)
    stops = rows_after(recorded, settings.rounds)
    announce("diverse-evol", recorded, stops, len(stops) - 1, progress)
    order_N = np.argsort(keyed.keys(seed, "diverse-evol", recorded.trajectories.ids), kind="stable")
    for before, stop in pairwise(stops):
        units_ND = directions(more.embeddings_after(order_N[:before]))
        with progress.stage("k-center", stop, "rows") as advance:
            order_N, _ = k_center(units_ND, order_N[:before], stop, advance)
    return ranked(places(order_N), rounds=len(stops))


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:  # noqa: ARG001
    """A training and a pass for each round but the first."""
    return of_rounds(settings.rounds, settings.rounds - 1)
