"""k-means that gives the same clusters on any machine: exact distances, keyed seeding, ties by id.

Features and centroids are multiples of 2⁻¹² (nats), so that every squared distance is a whole number of grid units that
float64 holds exactly: neither BLAS nor threads nor the size of a chunk can change a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from s2l.errors import SettingsError
from s2l.progress import SILENT, Progress
from s2l.selection.chunks import CHUNK
from s2l.selection.clusters import Clusters
from s2l.selection.grid import RESOLUTION, Features, Points, to_grid
from s2l.selection.nearest import Kernel, load_faiss, searcher
from s2l.selection.seeding import random_rows, seed_rows

Start = Literal["kmeans++", "random"]
Stopped = Literal["assignments", "inertia", "iterations"]


@dataclass(frozen=True)
class Clustering:
    """Clusters numbered by (size, smallest id), ascending.

    distance_N: Euclidean, to the own centroid. inertia: sum of squared distances. stopped: which rule ended it.
    """

    label_N: Int[np.ndarray, " N"]
    distance_N: Float[np.ndarray, " N"]
    centroids_KD: Float[np.ndarray, "K D"]
    sizes_K: Int[np.ndarray, " K"]
    inertia: float
    iterations: int
    stopped: Stopped


def kmeans(
    features_ND: Features,
    ids: Shaped[np.ndarray, " N"],
    n_clusters: int,
    seed: int,
    *,
    at_most: bool = False,
    start: Start = "kmeans++",
    initial_KD: Float[np.ndarray, "K D"] | None = None,
    max_iterations: int = 100,
    tolerance: float = 1e-6,
    kernel: Kernel = "own",
    folder: Path | None = None,
    progress: Progress = SILENT,
) -> Clustering:
    """Lloyd's algorithm from k-means++, from rows at random or from `initial_KD`; rows in ascending order of their ids.

    Stops when assignments stand still, the relative change of inertia is below `tolerance`, or after `max_iterations`.
    at_most: where fewer distinct rows exist than `n_clusters`, make as many clusters as there are instead of failing.
    kernel: whose search finds the nearest centroids; the clusters are the same.
    folder: where the grid is mapped from if it takes more than 1 GiB.

    Memory beside the features: N (2 D + 20) bytes, N (4 D + 20) where they span more than 16 nats; 2 D or 4 D of them
    are on disk where they take more than 1 GiB.

    Raises SettingsError for more clusters than distinct rows or a kernel that is not there, NumericsError for features
    that are not finite or that lie too far apart for exact distances.
    """
    assert np.all(ids[:-1] < ids[1:]), "rows must be in id order"
    if kernel == "faiss":
        load_faiss()
    points = to_grid(features_ND, ids, initial_KD, folder)
    with progress.stage("k-means", n_clusters + max_iterations, "rounds") as advance:
        if initial_KD is None:
            centroids_KD = _seeds(points, ids, n_clusters, seed, at_most, start)
        else:
            assert n_clusters == len(initial_KD) <= len(ids), "one row at least for each initial centroid"
            centroids_KD = np.rint(initial_KD / RESOLUTION) - points.origin_D
        advance(n_clusters)

        clusters, inertia = Clusters(points, len(centroids_KD)), -1
        for iteration in range(1, max_iterations + 1):
            previous = inertia
            inertia, moved = clusters.assign(searcher(kernel, centroids_KD, points.spread_D))
            gained = clusters.fill_emptied(centroids_KD)
            inertia -= gained or 0
            advance(1)
            stopped = _stopped(not moved, previous, inertia, tolerance) if gained is None else "iterations"
            if stopped != "iterations":
                break
            if iteration < max_iterations:
                centroids_KD = clusters.means()

    number_K, order_K, sizes_K = numbering(clusters.label_N, clusters.sizes_L[:-1])
    clusters.renumber(number_K)
    centroids_KD = centroids_KD[order_K]
    return Clustering(
        label_N=clusters.label_N,
        distance_N=clusters.distances(centroids_KD),
        centroids_KD=(centroids_KD + points.origin_D) * RESOLUTION,
        sizes_K=sizes_K,
        inertia=inertia * RESOLUTION**2,
        iterations=iteration,
        stopped=stopped,
    )


def _seeds(
    points: Points, ids: Shaped[np.ndarray, " N"], n_clusters: int, seed: int, at_most: bool, start: Start
) -> Float[np.ndarray, "K D"]:
    rows = (random_rows if start == "random" else seed_rows)(points, ids, n_clusters, seed)
    if len(rows) < n_clusters and not at_most:
        raise SettingsError(
            f"{n_clusters} clusters cannot be made of {len(rows)} distinct loss trajectories: "
            f"ask for {len(rows)} or fewer"
        )
    return points.rows(rows)


def _stopped(same: bool, previous: int, inertia: int, tolerance: float) -> Stopped:
    if same:
        return "assignments"
    return "inertia" if abs(previous - inertia) < tolerance * previous else "iterations"


def numbering(
    label_N: Int[np.ndarray, " N"], sizes_K: Int[np.ndarray, " K"]
) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """New number of each cluster, by (size, smallest id); old number of each new one; sizes in the new order."""
    smallest_K = np.full(len(sizes_K), len(label_N))
    for start in range(0, len(label_N), CHUNK):
        labels, first = np.unique(label_N[start : start + CHUNK], return_index=True)
        smallest_K[labels] = np.minimum(smallest_K[labels], start + first)
        if (smallest_K < len(label_N)).all():
            break
    order_K = np.lexsort((smallest_K, sizes_K))
    return np.argsort(order_K), order_K, sizes_K[order_K]
