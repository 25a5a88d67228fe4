"""Forgetting: the rows whose token accuracy drops most often from one checkpoint to the next (arXiv 1812.05159).

Toneva et al. count how often a right answer turns wrong; of a sequence of tokens, how often fewer of them are right. A
row of which no token was ever right counts as forgotten at every checkpoint, as in the paper.
"""

from __future__ import annotations

import numpy as np

from s2l import config
from s2l.errors import SettingsError
from s2l.progress import Progress
from s2l.selection.cost import Cost, of_trajectories
from s2l.selection.scores import ranked, while_training
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """There is nothing to set."""


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """The most drops first; among as many, the largest in sum, as a share of the tokens and under 1 drop in weight."""
    right_NT = while_training(recorded.trajectories, "hits")
    drop_NS = np.maximum(-np.diff(right_NT, axis=1), 0)
    if not drop_NS.shape[1]:
        raise SettingsError("forgetting needs 2 checkpoints or more, there is 1: record more")
    never_right_N = ~right_NT.any(axis=1)
    drops_N = np.where(never_right_N, right_NT.shape[1], (drop_NS > 0).sum(axis=1))
    return ranked(
        -(drops_N + drop_NS.mean(axis=1) / 2),
        rows_never_right=int(never_right_N.sum()),
        rows_never_forgotten=int((drops_N == 0).sum()),
    )


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:  # noqa: ARG001
    """Training dynamics."""
    return of_trajectories(steps)
