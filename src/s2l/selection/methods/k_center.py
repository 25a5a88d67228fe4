"""k-center: each next row the farthest from all before it (Sener & Savarese 2018, arXiv 1708.00489).

max_i min_{j chosen} ‖u_i − u_j‖ is kept small, u the direction of the mean last hidden state over response tokens; the
paper takes the states themselves, whose lengths tell more of the number of tokens than of their meaning.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection import keyed
from s2l.selection.cost import Cost, of_one_checkpoint
from s2l.selection.greedy import k_center
from s2l.selection.scores import AT_ONE, At, asked_of, column, places, ranked
from s2l.selection.unit import UNITS, directions
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """Whose states."""

    at: At = Field("late", description=AT_ONE)


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:
    """The farthest-first order, for as many rows as are asked for, from a row keyed by (seed, id)."""
    at = column(settings.at, recorded.trajectories.steps)
    units_ND = directions(asked_of(recorded).embeddings("response", at))
    first = keyed.keys(seed, "k-center", recorded.trajectories.ids).argmin(axis=0, keepdims=True)
    with progress.stage("k-center", recorded.wanted, "rows") as advance:
        order_N, squared_N = k_center(units_ND, first, recorded.wanted, advance)
    return ranked(places(order_N), radius=float(np.sqrt(squared_N[recorded.wanted :].max(initial=0))) / UNITS)


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """One pass for the embeddings of one checkpoint."""
    return of_one_checkpoint(settings.at, steps, more=1)
