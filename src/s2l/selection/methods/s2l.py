"""S2L: cluster the loss trajectories, share the budget evenly over the clusters (NeurIPS 2024, arXiv 2403.07384).

Rows whose losses move alike while a small model is fine-tuned have alike gradients in a large one, so many of a large
cluster are redundant: k-means (Euclidean, K = 100), smallest cluster first, uniformly at random inside a cluster.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection import keyed
from s2l.selection.chunks import over_chunks
from s2l.selection.kmeans import Clustering, kmeans
from s2l.selection.nearest import Kernel
from s2l.selection.representation import Representation, Represented, total_variation
from s2l.types import Plan, Recorded, Trajectories

CLUSTERS = 100


class Settings(config.Settings):
    """The paper's setting is the default; all else departs from it."""

    clusters: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Clusters K; the paper's 100, or the distinct trajectories if fewer."
    )
    representation: Representation = Field("raw", description="What is compared; the paper's raw losses.")
    within: Literal["random", "stable", "central"] = Field(
        "random",
        description="Inside a cluster take first: any (the paper), the steadiest loss, the nearest to the centroid.",
    )
    iterations: int = Field(100, ge=1, description="Iterations of k-means at most.")
    cluster_seed: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Seed of k-means alone; the run's seed if not given."
    )
    kernel: Kernel = Field("own", description="Whose search finds the nearest centroids; the subset is the same.")


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:
    """Clusters as groups; the score inside them as `within` says.

    Raises SettingsError for an explicit K above the number of distinct trajectories.
    """
    trajectories = recorded.trajectories
    clustering = kmeans(
        Represented(trajectories, settings.representation),
        trajectories.ids,
        settings.clusters or CLUSTERS,
        seed if settings.cluster_seed is None else settings.cluster_seed,
        at_most=settings.clusters is None,
        max_iterations=settings.iterations,
        kernel=settings.kernel,
        folder=trajectories.folder,
        progress=progress,
    )
    n_clusters = len(clustering.sizes_K)
    if settings.clusters is None and n_clusters < CLUSTERS:
        progress.note(f"{n_clusters} clusters instead of {CLUSTERS}: there are no more distinct loss trajectories")
    return Plan(
        group_N=clustering.label_N,
        score_N=_scores(settings.within, trajectories, clustering, seed),
        distance_N=clustering.distance_N,
        facts={
            "clusters": n_clusters,
            "iterations": clustering.iterations,
            "stopped": clustering.stopped,
            "inertia": clustering.inertia,
        },
    )


def _scores(within: str, trajectories: Trajectories, clustering: Clustering, seed: int) -> Float[np.ndarray, " N"]:
    match within:
        case "stable":
            parts = over_chunks(lambda rows: total_variation(trajectories.mean("nll", rows)), len(trajectories))
            return np.concatenate(list(parts))
        case "central":
            return clustering.distance_N
        case _:
            return keyed.uniform(keyed.keys(seed, "s2l/draw", trajectories.ids))
