"""Random: every row is as likely as any other. The baseline that a method has to beat."""

from __future__ import annotations

import numpy as np

from s2l import config
from s2l.progress import Progress
from s2l.selection import keyed
from s2l.selection.cost import Cost
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """There is nothing to set."""


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """One group, ranked by a number keyed by (seed, id)."""
    return Plan(
        group_N=np.zeros(len(recorded), dtype=np.int64),
        score_N=keyed.uniform(keyed.keys(seed, "random", recorded.trajectories.ids)),
        distance_N=np.full(len(recorded), np.nan),
    )


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:  # noqa: ARG001
    """Nothing is scored."""
    return Cost()
