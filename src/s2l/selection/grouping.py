"""Clusters of loss trajectories, as the methods share them: how many, what is compared, what the report says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.chunks import over_chunks
from s2l.selection.kmeans import Clustering, kmeans
from s2l.selection.nearest import Kernel
from s2l.selection.representation import Representation, Represented, total_variation
from s2l.types import Recorded, Trajectories


class ClusterSettings(config.Settings):
    """What every method says that clusters trajectories."""

    clusters: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Clusters K; the paper's number, or the distinct trajectories if fewer."
    )
    representation: Representation = Field("raw", description="What is compared; the paper's raw losses.")
    iterations: int = Field(100, ge=1, description="Iterations of k-means at most.")
    cluster_seed: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Seed of k-means alone; the run's seed if not given."
    )
    kernel: Kernel = Field(
        "own", description="Whose search finds the nearest centroids, to the same subset; faiss is slower."
    )


def by_trajectory(
    recorded: Recorded, settings: ClusterSettings, otherwise: int, seed: int, progress: Progress
) -> Clustering:
    """k-means of all rows; `otherwise` clusters where the settings name none, or as many as there are trajectories.

    Raises SettingsError for an explicit K above the number of distinct trajectories.
    """
    trajectories = recorded.trajectories
    clustering = kmeans(
        Represented(trajectories, settings.representation),
        trajectories.ids,
        settings.clusters or otherwise,
        seed if settings.cluster_seed is None else settings.cluster_seed,
        at_most=settings.clusters is None,
        max_iterations=settings.iterations,
        kernel=settings.kernel,
        folder=trajectories.folder,
        progress=progress,
    )
    n_clusters = len(clustering.sizes_K)
    if settings.clusters is None and n_clusters < otherwise:
        progress.note(f"{n_clusters} clusters instead of {otherwise}: there are no more distinct loss trajectories")
    return clustering


def told(clustering: Clustering) -> Mapping[str, Any]:
    """What the report and the manifest say of it."""
    return {
        "clusters": len(clustering.sizes_K),
        "iterations": clustering.iterations,
        "stopped": clustering.stopped,
        "inertia": clustering.inertia,
    }


def unsteadiness(trajectories: Trajectories) -> Float[np.ndarray, " N"]:
    """`total_variation` of every row."""
    parts = over_chunks(lambda rows: total_variation(trajectories.mean("nll", rows)), len(trajectories))
    return np.concatenate(list(parts))
