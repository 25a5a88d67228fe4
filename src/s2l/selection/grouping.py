"""Clusters of loss trajectories, as the methods share them: how many, what is compared, what the report says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Shaped
from pydantic import Field

from s2l import config
from s2l.progress import SILENT, Progress
from s2l.selection.chunks import over_chunks
from s2l.selection.kmeans import Clustering, Start, kmeans
from s2l.selection.nearest import Kernel
from s2l.selection.partial import Part, fitted_on_sample, inside_each
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
    inside: Literal["pool", "source"] = Field(
        "pool", description="Cluster all rows together (the paper), or those of each source, K clusters in each."
    )
    start: Start = Field("kmeans++", description="Where k-means starts: k-means++, or rows at random.")
    sample: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Rows per cluster that k-means is fitted on; all rows if not given (the paper)."
    )


def by_trajectory(
    recorded: Recorded, settings: ClusterSettings, otherwise: int, seed: int, progress: Progress
) -> Clustering:
    """k-means of all rows, or inside each source.

    `otherwise` clusters where the settings name none, or as many as there are trajectories. Raises SettingsError for an
    explicit K above the number of distinct trajectories, unless it is inside each source: a small one makes fewer.
    """
    wanted, seed = settings.clusters or otherwise, seed if settings.cluster_seed is None else settings.cluster_seed
    trajectories, in_sources = recorded.trajectories, settings.inside == "source"

    def fit(features: Represented | Part, ids: Shaped[np.ndarray, " n"]) -> Clustering:
        return kmeans(
            features,
            ids,
            wanted,
            seed,
            at_most=in_sources or settings.clusters is None,
            start=settings.start,
            max_iterations=settings.iterations,
            kernel=settings.kernel,
            folder=trajectories.folder,
            progress=SILENT if in_sources else progress,
        )

    def cluster(features: Represented | Part, ids: Shaped[np.ndarray, " n"]) -> Clustering:
        if settings.sample is None:
            return fit(features, ids)
        return fitted_on_sample(fit, features, ids, settings.sample * wanted, seed, trajectories.folder)

    features = Represented(trajectories, settings.representation)
    if in_sources:
        return inside_each(cluster, features, trajectories.ids, recorded.source_N)
    clustering = cluster(features, trajectories.ids)
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
