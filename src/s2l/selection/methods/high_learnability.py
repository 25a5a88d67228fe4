"""High learnability: the rows whose loss training lowers most (Zhou et al. 2023, arXiv 2310.13008)."""

from __future__ import annotations

from s2l import config
from s2l.errors import SettingsError
from s2l.progress import Progress
from s2l.selection.cost import Cost
from s2l.selection.scores import ranked
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """There is nothing to set."""


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """The largest fall of the mean loss first, from before training (the first checkpoint if that was not recorded)."""
    trajectories = recorded.trajectories
    losses_NT = trajectories.losses_NT
    if len(trajectories.steps) < 2:
        raise SettingsError("high-learnability needs 2 checkpoints or more, there is 1: record more")
    if trajectories.steps[0] != 0:
        progress.note("learnability is counted from the first checkpoint: nothing was recorded before training")
    return ranked(losses_NT[:, -1] - losses_NT[:, 0], since_step=trajectories.steps[0])


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:  # noqa: ARG001
    """All of training, and the first and the last losses."""
    return Cost(trained=1, recorded=2)
