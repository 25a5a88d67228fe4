"""How well the chosen rows cover the pool: how far a row is from the nearest of them, in losses or in embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from s2l.selection import keyed

Space = Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, "n D"]]
"""Rows → where they lie."""
SAMPLE = 20_000
AT_ONCE = 2**24
"""Products in memory at once."""


@dataclass(frozen=True)
class Coverage:
    """Euclidean distance of a row to the nearest chosen one: the mean, and what 95 % of the rows do not exceed."""

    mean: float
    within_95: float


def sample(ids: Shaped[np.ndarray, " N"], seed: int) -> Int[np.ndarray, " S"]:
    """Rows of a keyed sample of at most 20,000, ascending."""
    return np.sort(np.argsort(keyed.keys(seed, "compare/coverage", ids), kind="stable")[:SAMPLE])


def coverage(space: Space, sample_S: Int[np.ndarray, " S"], kept_N: Bool[np.ndarray, " N"]) -> Coverage:
    """Of the sampled rows, by all that are kept."""
    distance_S = nearest_distances(space(sample_S), space(np.flatnonzero(kept_N)))
    return Coverage(float(distance_S.mean()), float(np.percentile(distance_S, 95)))


def nearest_distances(
    points_SD: Float[np.ndarray, "S D"], chosen_CD: Float[np.ndarray, "C D"]
) -> Float[np.ndarray, " S"]:
    """Euclidean distance of every point to the nearest of those chosen, float64.

    Which is nearest is found by products, in blocks, and how near it is by the difference, so that nothing cancels: an
    error of at most 10⁻⁷ of the vectors' length is left, where two are all but equally near.
    S C D products; memory beside what is given: w (max(C, 2²⁴) + C D + 2 S D) + 8 S D bytes, numbers of w bytes each.
    """
    norm_C = np.square(chosen_CD).sum(axis=1)
    across_DC = -2 * chosen_CD.T
    nearest_S = np.empty(len(points_SD), dtype=np.int64)
    rows = max(1, AT_ONCE // len(chosen_CD))
    for start in range(0, len(points_SD), rows):
        part = slice(start, start + rows)
        score_sC = points_SD[part] @ across_DC
        score_sC += norm_C
        nearest_S[part] = score_sC.argmin(axis=1)
    distance_S = np.empty(len(points_SD))
    distance_S[:] = np.sqrt(np.square(points_SD - chosen_CD[nearest_S], dtype=np.float64).sum(axis=1))
    return distance_S
