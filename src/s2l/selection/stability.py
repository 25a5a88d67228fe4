"""How much of a subset another seed would give too: another seed of k-means, and of the draw, each apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from s2l import config

CLUSTER_SEED = "cluster_seed"
"""The setting of every method that clusters trajectories."""
Draw = Callable[[config.Settings, int], Bool[np.ndarray, " N"]]
"""(settings, seed) → which rows are kept."""


@dataclass(frozen=True)
class Shared:
    """Share of a subset's rows that other draws keep too: the mean over them, the least and the most."""

    mean: float
    least: float
    most: float


@dataclass(frozen=True)
class Stability:
    """clusters: other seeds of k-means, the draw's fixed; None where the method has none. draws: the other way round.

    Both are None where no other seed was drawn with.
    """

    clusters: Shared | None
    draws: Shared | None


def stability(
    draw: Draw, settings: config.Settings, seed: int, others: int, kept_N: Bool[np.ndarray, " N"]
) -> Stability:
    """Of the rows that `draw` keeps with these settings and this seed, by so many other seeds of either kind."""
    more = range(1, others + 1)
    if CLUSTER_SEED not in type(settings).model_fields:
        return Stability(None, shared(kept_N, [draw(settings, seed + i) for i in more]))
    own = getattr(settings, CLUSTER_SEED)
    first = seed if own is None else own

    def clustered_by(cluster_seed: int) -> config.Settings:
        return settings.model_copy(update={CLUSTER_SEED: cluster_seed})

    return Stability(
        clusters=shared(kept_N, [draw(clustered_by(first + i), seed) for i in more]),
        draws=shared(kept_N, [draw(clustered_by(first), seed + i) for i in more]),
    )


def shared(kept_N: Bool[np.ndarray, " N"], others: Sequence[Bool[np.ndarray, " N"]]) -> Shared | None:
    """Share of the rows kept that each of the others keeps; None where there is no other."""
    shares = [float((kept_N & other_N).sum() / kept_N.sum()) for other_N in others]
    return Shared(sum(shares) / len(shares), min(shares), max(shares)) if shares else None
