"""What k-means compares: the loss trajectory as it is, or its logarithm, its shape, its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from s2l.errors import SettingsError
from s2l.selection.grid import RESOLUTION
from s2l.types import Trajectories

Representation = Literal["raw", "log", "z-normalised", "differences"]


@dataclass(frozen=True)
class Represented:
    """Features of every row for clustering, made from the recorded sums when they are asked for."""

    trajectories: Trajectories
    representation: Representation

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        return len(self.trajectories), self[:0].shape[1]

    def __getitem__(self, rows: slice | Int[np.ndarray, " n"]) -> Float[np.ndarray, "n D"]:
        return represent(self.trajectories.mean("nll", rows), self.representation)


def represent(losses_NT: Float[np.ndarray, "N T"], representation: Representation) -> Float[np.ndarray, "N D"]:
    """Features of every row for clustering.

    raw: the losses (the paper). log: their logarithm, losses below 2⁻¹² nats taken as 2⁻¹². z-normalised: each
    trajectory less its mean, over its standard deviation (2⁻¹² at least: a flat one stays flat); the shape without
    the level. differences: from each checkpoint to the next; raises SettingsError where there is only one.
    """
    match representation:
        case "raw":
            return losses_NT
        case "log":
            log_NT: Float[np.ndarray, "N T"] = np.log(np.maximum(losses_NT, RESOLUTION))
            return log_NT
        case "z-normalised":
            deviation_N1 = np.maximum(losses_NT.std(axis=1, keepdims=True), RESOLUTION)
            shape_NT: Float[np.ndarray, "N T"] = (losses_NT - losses_NT.mean(axis=1, keepdims=True)) / deviation_N1
            return shape_NT
        case "differences":
            if losses_NT.shape[1] < 2:
                raise SettingsError("representation differences needs 2 checkpoints or more, there is 1: use raw")
            return np.diff(losses_NT, axis=1)


def total_variation(losses_NT: Float[np.ndarray, "N T"]) -> Float[np.ndarray, " N"]:
    """How much each loss moved from checkpoint to checkpoint, in nats: Σ |l_t − l_{t−1}| (arXiv 2510.01454)."""
    moved_N = np.zeros(len(losses_NT))
    for t in range(1, losses_NT.shape[1]):
        moved_N += np.abs(losses_NT[:, t] - losses_NT[:, t - 1])
    return moved_N
