"""What methods that only rank share: one group, best first; and at which checkpoints a score is taken."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from s2l.errors import SettingsError
from s2l.types import Plan, Recorded, Representations, Trajectories

At = Literal["start", "early", "late"]
"""When a score of one model is taken: before training, in its first quarter, or at its end."""
CONFIDENCE = {"predicted": "p_max", "target": "p_target"}
"""Whose probability is a model's confidence → the statistic."""
AT = "Before training, in the first quarter of it (mean of its checkpoints), or at the last checkpoint."
AT_ONE = "Before training, at the end of the first quarter of it, or at the last checkpoint."


def ranked(score_N: Float[np.ndarray, " N"], **facts: Any) -> Plan:
    """All rows in one group, the lowest score first."""
    return Plan(
        group_N=np.zeros(len(score_N), dtype=np.int64),
        score_N=score_N,
        distance_N=np.full(len(score_N), np.nan),
        facts=facts,
    )


def places(order_N: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """A row's place in an order of all rows, as a score."""
    place_N = np.empty(len(order_N))
    place_N[order_N] = np.arange(len(order_N))
    return place_N


def asked_of(recorded: Recorded) -> Representations:
    """What else the run can tell; SettingsError where there is only what was recorded."""
    if recorded.more is None:
        raise SettingsError("this method needs the run's proxy: draw from a run folder (s2l select RUN)")
    return recorded.more


def column(at: At, steps: tuple[int, ...]) -> int:
    """The one checkpoint that `at` means: of the first quarter of training the last."""
    return columns(at, steps)[-1]


def columns(at: At, steps: tuple[int, ...]) -> list[int]:
    """The checkpoints that `at` means; SettingsError for `start` where none was recorded before training.

    early: those in the first quarter of the steps, or the first alone.
    """
    if at == "late":
        return [len(steps) - 1]
    if at == "start":
        if steps[0] != 0:
            raise SettingsError("at=start: nothing was recorded before training; run with --initial-checkpoint")
        return [0]
    trained = [column for column, step in enumerate(steps) if step]
    return [column for column in trained if 4 * steps[column] <= steps[-1]] or trained[:1] or [0]


def while_training(trajectories: Trajectories, statistic: str) -> Float[np.ndarray, "N T"]:
    """The statistic per response token at the checkpoints that training made: not before it, if there are others."""
    mean_NT = trajectories.mean(statistic)
    return mean_NT[:, 1:] if trajectories.steps[0] == 0 and len(trajectories.steps) > 1 else mean_NT


def mean_at(trajectories: Trajectories, statistic: str, at: At) -> Float[np.ndarray, " N"]:
    """The statistic per response token, averaged over the checkpoints that `at` means."""
    mean_N: Float[np.ndarray, " N"] = trajectories.mean(statistic)[:, columns(at, trajectories.steps)].mean(axis=1)
    return mean_N
