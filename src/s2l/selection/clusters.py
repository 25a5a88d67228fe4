"""The state of k-means: who is in which cluster, and each cluster's sum, kept up to date by those who move."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from s2l.selection.chunks import over_chunks
from s2l.selection.grid import RESOLUTION, Points
from s2l.selection.nearest import Search


@dataclass
class Clusters:
    """Who is in which cluster while k-means runs, and the whole-number sums of each, of which only changes are added.

    label_N: K where a row has not been assigned yet, so that sums and sizes have a row more than there are clusters.
    """

    points: Points
    n_clusters: int
    label_N: Int[np.ndarray, " N"] = field(init=False)
    sums_LD: Float[np.ndarray, "L D"] = field(init=False)
    sizes_L: Int[np.ndarray, " L"] = field(init=False)

    def __post_init__(self) -> None:
        self.label_N = np.full(len(self.points), self.n_clusters, dtype=np.int32)
        self.sums_LD = np.zeros((self.n_clusters + 1, len(self.points.origin_D)))
        self.sizes_L = np.zeros(self.n_clusters + 1, dtype=np.int64)

    def assign(self, search: Search) -> tuple[int, bool]:
        """Every row to its nearest centroid: the inertia in grid units, and whether any row moved."""

        def chunk(rows: slice) -> tuple[int, Float[np.ndarray, "L D"], Int[np.ndarray, " L"]]:
            grid_nD = self.points.rows(rows)
            label_n, score_n = search(grid_nD)
            changes = self._changes(np.flatnonzero(label_n != self.label_N[rows]), rows, label_n, grid_nD)
            self.label_N[rows] = label_n
            return int(score_n.sum()), *changes

        inertia, moved = self.points.norms, False
        for score, sums_LD, sizes_L in over_chunks(chunk, len(self.points)):
            inertia += score
            moved |= bool(len(sizes_L))
            self._add(sums_LD, sizes_L)
        return inertia, moved

    def means(self) -> Float[np.ndarray, "K D"]:
        """Centre of every cluster, rounded to the grid."""
        centres_KD: Float[np.ndarray, "K D"] = np.rint(self.sums_LD[:-1] / self.sizes_L[:-1, None])
        return centres_KD

    def squared(self, centroids_KD: Float[np.ndarray, "K D"]) -> Float[np.ndarray, " N"]:
        """Exact squared distance of every row to its own centroid."""
        squared_N = np.empty(len(self.points))

        def chunk(rows: slice) -> None:
            squared_N[rows] = np.square(self.points.rows(rows) - centroids_KD[self.label_N[rows]]).sum(axis=1)

        list(over_chunks(chunk, len(self.points)))
        return squared_N

    def distances(self, centroids_KD: Float[np.ndarray, "K D"]) -> Float[np.ndarray, " N"]:
        """Euclidean distance of every row to its own centroid, in nats."""
        distance_N = self.squared(centroids_KD)
        np.sqrt(distance_N, out=distance_N)
        distance_N *= RESOLUTION
        return distance_N

    def fill_emptied(self, centroids_KD: Float[np.ndarray, "K D"]) -> int | None:
        """Give every emptied cluster the row farthest from its centroid (ties: smallest id), its centroid in place.

        Returns by how much that lowers the inertia; None where no cluster is empty.
        """
        emptied = np.flatnonzero(self.sizes_L[:-1] == 0)
        if not len(emptied):
            return None
        squared_N, gained = self.squared(centroids_KD), 0
        for cluster in emptied:
            row = int(np.where(self.sizes_L[self.label_N] > 1, squared_N, -1).argmax())
            gained += int(squared_N[row])
            self.move(row, int(cluster))
            squared_N[row], centroids_KD[cluster] = 0, self.points.grid_ND[row]
        return gained

    def move(self, row: int, cluster: int) -> None:
        """One row to another cluster."""
        only = slice(row, row + 1)
        self._add(*self._changes(np.zeros(1, dtype=np.int64), only, np.array([cluster]), self.points.rows(only)))
        self.label_N[row] = cluster

    def renumber(self, number_K: Int[np.ndarray, " K"]) -> None:
        """Give every cluster its new number; nothing but labels is told of it."""

        def chunk(rows: slice) -> None:
            self.label_N[rows] = number_K[self.label_N[rows]]

        list(over_chunks(chunk, len(self.points)))

    def _changes(
        self,
        moved: Int[np.ndarray, " m"],
        rows: slice,
        label_n: Int[np.ndarray, " n"],
        grid_nD: Float[np.ndarray, "n D"],
    ) -> tuple[Float[np.ndarray, "L D"], Int[np.ndarray, " L"]]:
        """What the moved rows add to the sums and sizes of their clusters, and take from those they leave."""
        shape = self.sums_LD.shape
        if not len(moved):
            return np.zeros((0, shape[1])), np.zeros(0, dtype=np.int64)
        labels = np.concatenate([label_n[moved], self.label_N[rows][moved]])
        signed = np.concatenate([grid_nD[moved], -grid_nD[moved]])
        cells = labels[:, None] * shape[1] + np.arange(shape[1])
        sums_LD = np.bincount(cells.ravel(), weights=signed.ravel(), minlength=self.sums_LD.size).reshape(shape)
        counts = [np.bincount(part, minlength=shape[0]) for part in np.split(labels, 2)]
        return sums_LD, counts[0] - counts[1]

    def _add(self, sums_LD: Float[np.ndarray, "M D"], sizes_L: Int[np.ndarray, " M"]) -> None:
        if len(sizes_L):
            self.sums_LD += sums_LD
            self.sizes_L += sizes_L
