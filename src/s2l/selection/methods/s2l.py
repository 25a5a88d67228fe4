"""S2L: cluster the loss trajectories, share the budget evenly over the clusters (NeurIPS 2024, arXiv 2403.07384).

Rows whose losses move alike while a small model is fine-tuned have alike gradients in a large one, so many of a large
cluster are redundant: k-means (Euclidean, K = 100), smallest cluster first, uniformly at random inside a cluster.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from s2l.progress import Progress
from s2l.selection import keyed
from s2l.selection.cost import Cost, of_trajectories
from s2l.selection.grouping import ClusterSettings, by_trajectory, told, unsteadiness
from s2l.selection.kmeans import Clustering
from s2l.types import Plan, Recorded, Trajectories

CLUSTERS = 100
SMALL = 2


class Settings(ClusterSettings):
    """The paper's setting (K = 100) is the default; all else departs from it, `--preset authors` as their code does."""

    within: Literal["random", "stable", "central"] = Field(
        "random",
        description="Inside a cluster take first: any (the paper), the steadiest loss, the nearest to the centroid.",
    )
    small: Literal["first", "last"] = Field(
        "first",
        description="Clusters of 1 or 2 rows: first, as the smallest (the paper), or together after all others.",
    )


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:
    """Clusters as groups; the score inside them as `within` says.

    Raises SettingsError for an explicit K above the number of distinct trajectories.
    """
    clustering = by_trajectory(recorded, settings, CLUSTERS, seed, progress)
    group_N, last_N = clustering.label_N, None
    if settings.small == "last":
        strata_N = recorded.source_N if settings.inside == "source" else np.zeros(len(recorded), dtype=np.int64)
        group_N, last_N = small_together(clustering, strata_N)
    return Plan(
        group_N=group_N,
        score_N=_scores(settings.within, recorded.trajectories, clustering, seed),
        distance_N=clustering.distance_N,
        last_N=last_N,
        last_name=f"clusters of at most {SMALL} rows",
        facts=told(clustering),
    )


def small_together(
    clustering: Clustering, strata_N: Int[np.ndarray, " N"]
) -> tuple[Int[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """Groups, and which rows are of small clusters: these rows are one group for each stratum, before all others."""
    small_N = clustering.sizes_K[clustering.label_N] <= SMALL
    _, first_N = np.unique(strata_N, return_inverse=True)
    labels_N = np.where(small_N, first_N - first_N.max(initial=0) - 1, clustering.label_N)
    return np.unique(labels_N, return_inverse=True)[1], small_N


def _scores(within: str, trajectories: Trajectories, clustering: Clustering, seed: int) -> Float[np.ndarray, " N"]:
    match within:
        case "stable":
            return unsteadiness(trajectories)
        case "central":
            return clustering.distance_N
        case _:
            return keyed.uniform(keyed.keys(seed, "s2l/draw", trajectories.ids))


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:  # noqa: ARG001
    """Training dynamics."""
    return of_trajectories(steps)
