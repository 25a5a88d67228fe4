"""GraNd: the rows with the largest gradient early in training (Paul et al. 2021, arXiv 2107.07075).

The norm of the gradient of a row's mean response loss, by all of the proxy's parameters or by its head's, averaged over
the checkpoints; the paper averages over 10 trainings from different starts.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import BACKWARD, Cost, of_one_model
from s2l.selection.scores import AT, At, asked_of, columns, ranked
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """Of what, and when."""

    scope: Literal["all", "head"] = Field("all", description="Gradient by all parameters, or by the head's alone.")
    at: At = Field("early", description=AT)


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """The largest norm first."""
    more = asked_of(recorded)
    at = columns(settings.at, recorded.trajectories.steps)
    norms_NC = np.stack([more.gradient_norms(settings.scope, column) for column in at], axis=1)
    return ranked(-norms_NC.mean(axis=1, dtype=np.float64))


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """A backward pass for each checkpoint averaged."""
    return of_one_model(settings.at, steps, recorded=False, more=1 + BACKWARD if settings.scope == "all" else 1)
