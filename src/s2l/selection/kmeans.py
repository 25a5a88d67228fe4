"""k-means that gives the same clusters on any machine: exact distances, keyed seeding, ties by id.

Features and centroids are multiples of 2⁻¹² (nats), so that every squared distance is a whole number of grid units that
float64 holds exactly: neither BLAS nor threads nor the size of a chunk can change a label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from s2l.errors import NumericsError, SettingsError
from s2l.progress import SILENT, Progress
from s2l.selection import keyed

RESOLUTION = 2.0**-12
PRODUCTS = 2**18
"""Size of one matrix product: OpenBLAS shares larger ones over threads, ten times slower on a busy machine."""
SHARD = 4096
"""Rows whose squared distances fit an int64 sum, whatever they are."""
DIAMETER = 2.0**12
"""Trajectories spread wider than this (Euclidean) would take their squared distances beyond exact arithmetic."""


@dataclass(frozen=True)
class Points:
    """Rows in whole grid units of 2⁻¹² above `origin_D`, the lowest values.

    extended_NE: the grid coordinates and a last column of ones, which takes the centroids' norms in one product.
    norms_N: squared lengths.
    """

    extended_NE: Float[np.ndarray, "N E"]
    norms_N: Float[np.ndarray, " N"]
    origin_D: Float[np.ndarray, " D"]

    def __len__(self) -> int:
        return len(self.norms_N)

    @property
    def grid_ND(self) -> Float[np.ndarray, "N D"]:
        """The coordinates alone."""
        return self.extended_NE[:, :-1]


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
    stopped: Literal["assignments", "inertia", "iterations"]


def kmeans(
    features_ND: Float[np.ndarray, "N D"],
    ids: Shaped[np.ndarray, " N"],
    n_clusters: int,
    seed: int,
    *,
    at_most: bool = False,
    initial_KD: Float[np.ndarray, "K D"] | None = None,
    max_iterations: int = 100,
    tolerance: float = 1e-6,
    progress: Progress = SILENT,
) -> Clustering:
    """Lloyd's algorithm from k-means++ (or from `initial_KD`), rows in ascending order of their ids.

    Stops when assignments stand still, the relative change of inertia is below `tolerance`, or after `max_iterations`.
    at_most: where fewer distinct rows exist than `n_clusters`, make as many clusters as there are instead of failing.

    Raises SettingsError for more clusters than distinct rows, NumericsError for features that are not finite or that
    lie too far apart for exact distances.
    """
    assert np.all(ids[:-1] < ids[1:]), "rows must be in id order"
    points = to_grid(features_ND, ids, initial_KD)
    with progress.stage("k-means", n_clusters + max_iterations, "rounds") as advance:
        if initial_KD is None:
            centroids_KD = _seeds(points, ids, n_clusters, seed, at_most)
        else:
            assert n_clusters == len(initial_KD) <= len(ids), "one row at least for each initial centroid"
            centroids_KD = np.rint(initial_KD / RESOLUTION) - points.origin_D
        advance(n_clusters)

        label_N, inertia = np.full(len(ids), -1), -1
        for iteration in range(1, max_iterations + 1):
            previous_N, previous = label_N, inertia
            label_N, squared_N = assign(points, centroids_KD)
            filled = _fill_emptied(points, centroids_KD, label_N, squared_N)
            inertia = sum(np.add.reduceat(squared_N.astype(np.int64), range(0, len(ids), SHARD)).tolist())
            advance(1)
            stopped = _stopped(bool(np.array_equal(label_N, previous_N)), previous, inertia, tolerance)
            if stopped != "iterations" and not filled:
                break
            if iteration < max_iterations:
                centroids_KD = means(points, label_N, len(centroids_KD))

    number_K, order_K, sizes_K = _numbering(label_N, len(centroids_KD))
    return Clustering(
        label_N=number_K[label_N],
        distance_N=np.sqrt(squared_N) * RESOLUTION,
        centroids_KD=(centroids_KD[order_K] + points.origin_D) * RESOLUTION,
        sizes_K=sizes_K,
        inertia=inertia * RESOLUTION**2,
        iterations=iteration,
        stopped=stopped,
    )


def to_grid(
    features_ND: Float[np.ndarray, "N D"],
    ids: Shaped[np.ndarray, " N"],
    initial_KD: Float[np.ndarray, "K D"] | None = None,
) -> Points:
    """Features rounded to the grid; raises NumericsError naming what cannot be."""
    if not (finite_N := np.isfinite(features_ND).all(axis=1)).all():
        raise NumericsError(f"the loss trajectory of row {ids[~finite_N][0].decode()} is not finite: cannot cluster it")
    every_ND = features_ND if initial_KD is None else np.concatenate([features_ND, initial_KD])
    if (diameter := math.dist(every_ND.max(axis=0), every_ND.min(axis=0))) > DIAMETER:
        raise NumericsError(
            f"loss trajectories lie {diameter:.4g} apart, beyond the {DIAMETER:.0f} that exact distances reach: "
            "look at the losses, the proxy's training diverged"
        )
    origin_D = np.rint(every_ND.min(axis=0) / RESOLUTION)
    grid_ND = np.rint(features_ND / RESOLUTION) - origin_D
    return Points(np.pad(grid_ND, ((0, 0), (0, 1)), constant_values=1), np.square(grid_ND).sum(axis=1), origin_D)


def seed_rows(points: Points, ids: Shaped[np.ndarray, " N"], n_clusters: int, seed: int) -> Int[np.ndarray, " K"]:
    """Rows that k-means++ starts from (Arthur & Vassilvitskii 2007), all distinct, fewer where there are not so many.

    D² sampling as an exponential race: round r takes the row with the smallest -log(u) / D², u keyed by (seed, r, id).
    A row keeps its u whatever the other rows do, so a little noise changes few of the choices.
    """
    keys_N = keyed.keys(seed, "kmeans", ids)
    squared_N = np.ones(len(ids))
    rows: list[int] = []
    while len(rows) < n_clusters and squared_N.any():
        waits_N = -np.log(keyed.uniform(keyed.rounds(keys_N, len(rows))))
        race_N = np.divide(waits_N, squared_N, out=np.full(len(ids), np.inf), where=squared_N > 0)
        row = int(race_N.argmin())
        _, to_row_N = assign(points, points.grid_ND[[row]])
        squared_N = np.minimum(squared_N, to_row_N) if rows else to_row_N
        rows.append(row)
    return np.array(rows, dtype=np.int64)


def assign(
    points: Points, centroids_KD: Float[np.ndarray, "K D"]
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Nearest centroid (in grid units) of every point, ties to the lowest, and its squared distance; both exact."""
    label_N, squared_N = np.empty(len(points), dtype=np.int64), points.norms_N.copy()
    norms_K = np.square(centroids_KD).sum(axis=1)
    matrix_EK = np.concatenate([-2 * centroids_KD.T, norms_K[None]])
    chunk = max(64, PRODUCTS // matrix_EK.size)
    for start in range(0, len(points), chunk):
        part = slice(start, start + chunk)
        scores_NK = points.extended_NE[part] @ matrix_EK
        label_N[part] = scores_NK.argmin(axis=1)
        squared_N[part] += np.take_along_axis(scores_NK, label_N[part, None], axis=1)[:, 0]
    return label_N, squared_N


def means(points: Points, label_N: Int[np.ndarray, " N"], n_clusters: int) -> Float[np.ndarray, "K D"]:
    """Centre of every cluster, rounded to the grid; the sums are whole numbers and so free of order."""
    sums_DK = [np.bincount(label_N, weights=column_N, minlength=n_clusters) for column_N in points.grid_ND.T]
    return np.rint(np.stack(sums_DK, axis=1) / np.bincount(label_N, minlength=n_clusters)[:, None])


def _seeds(
    points: Points, ids: Shaped[np.ndarray, " N"], n_clusters: int, seed: int, at_most: bool
) -> Float[np.ndarray, "K D"]:
    rows = seed_rows(points, ids, n_clusters, seed)
    if len(rows) < n_clusters and not at_most:
        raise SettingsError(
            f"{n_clusters} clusters cannot be made of {len(rows)} distinct loss trajectories: "
            f"ask for {len(rows)} or fewer"
        )
    return np.take(points.grid_ND, rows, axis=0)


def _fill_emptied(
    points: Points,
    centroids_KD: Float[np.ndarray, "K D"],
    label_N: Int[np.ndarray, " N"],
    squared_N: Float[np.ndarray, " N"],
) -> bool:
    """Give every emptied cluster the row farthest from its centroid (ties: smallest id), in place; true if any was."""
    sizes_K = np.bincount(label_N, minlength=len(centroids_KD))
    emptied = np.flatnonzero(sizes_K == 0)
    for cluster in emptied:
        row = int(np.where(sizes_K[label_N] > 1, squared_N, -1).argmax())
        sizes_K[label_N[row]] -= 1
        sizes_K[cluster] = 1
        label_N[row], squared_N[row], centroids_KD[cluster] = cluster, 0, points.grid_ND[row]
    return len(emptied) > 0


def _stopped(
    same: bool, previous: int, inertia: int, tolerance: float
) -> Literal["assignments", "inertia", "iterations"]:
    if same:
        return "assignments"
    return "inertia" if abs(previous - inertia) < tolerance * previous else "iterations"


def _numbering(
    label_N: Int[np.ndarray, " N"], n_clusters: int
) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """New number of each cluster, by (size, smallest id); old number of each new one; sizes in the new order."""
    sizes_K = np.bincount(label_N, minlength=n_clusters)
    smallest_K = np.unique(label_N, return_index=True)[1]
    order_K = np.lexsort((smallest_K, sizes_K))
    return np.argsort(order_K), order_K, sizes_K[order_K]
