"""k-means of part of the rows: fitted on a sample of them, or inside each source on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from s2l.selection import keyed
from s2l.selection.kmeans import Clustering, kmeans, numbering
from s2l.selection.representation import Represented


@dataclass(frozen=True)
class Part:
    """Features of some of the rows. rows: which, ascending."""

    features: Represented | Part
    rows: Int[np.ndarray, " n"]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, D)."""
        return len(self.rows), self.features.shape[1]

    def __getitem__(self, rows: slice | Int[np.ndarray, " m"]) -> Float[np.ndarray, "m D"]:
        return self.features[self.rows[rows]]


Cluster = Callable[[Represented | Part, Shaped[np.ndarray, " n"]], Clustering]
"""Features and ids, ascending → clusters."""


def fitted_on_sample(
    cluster: Cluster,
    features: Represented | Part,
    ids: Shaped[np.ndarray, " N"],
    rows: int,
    seed: int,
    folder: Path | None = None,
) -> Clustering:
    """Clusters of so many rows, drawn by key; then every row goes to its nearest centroid.

    iterations and stopped: of the fit. folder: as for `kmeans`. No more rows than `rows` are clustered as they are.
    """
    if len(ids) <= rows:
        return cluster(features, ids)
    sample = np.sort(np.argsort(keyed.keys(seed, "kmeans/sample", ids), kind="stable")[:rows])
    fitted = cluster(Part(features, sample), ids[sample])
    centroids_KD = fitted.centroids_KD
    every = kmeans(features, ids, len(centroids_KD), seed, initial_KD=centroids_KD, max_iterations=1, folder=folder)
    return replace(every, iterations=fitted.iterations, stopped=fitted.stopped)


def inside_each(
    cluster: Cluster, features: Represented, ids: Shaped[np.ndarray, " N"], part_N: Int[np.ndarray, " N"]
) -> Clustering:
    """Clusters of each part of the rows on its own, numbered over all parts by (size, smallest id).

    inertia: of all parts. iterations: the most of any. stopped: `assignments` if that ended every part, else the
    coarsest that ended one.
    """
    label_N, distance_N = np.empty(len(ids), dtype=np.int64), np.empty(len(ids))
    found: list[Clustering] = []
    n_clusters = 0
    for part in np.unique(part_N):
        rows = np.flatnonzero(part_N == part)
        found.append(clustering := cluster(Part(features, rows), ids[rows]))
        label_N[rows], distance_N[rows] = clustering.label_N + n_clusters, clustering.distance_N
        n_clusters += len(clustering.sizes_K)
    number_K, order_K, sizes_K = numbering(label_N, np.concatenate([clustering.sizes_K for clustering in found]))
    return Clustering(
        label_N=number_K[label_N],
        distance_N=distance_N,
        centroids_KD=np.concatenate([clustering.centroids_KD for clustering in found])[order_K],
        sizes_K=sizes_K,
        inertia=sum(clustering.inertia for clustering in found),
        iterations=max(clustering.iterations for clustering in found),
        stopped=max((clustering.stopped for clustering in found), key=("assignments", "inertia", "iterations").index),
    )
