"""EL2N: the rows with the largest error early in training (Paul et al. 2021, arXiv 2107.07075).

Mean over response tokens of ‖p − onehot‖₂, averaged over the checkpoints of the first quarter of training; the paper
averages over 10 trainings from different starts, at one early epoch.
"""

from __future__ import annotations

from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost, of_one_model
from s2l.selection.scores import AT, At, mean_at, ranked
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """When."""

    at: At = Field("early", description=AT)


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """The largest error first."""
    return ranked(-mean_at(recorded.trajectories, "el2n", settings.at))


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """The scores of the checkpoints averaged."""
    return of_one_model(settings.at, steps)
