"""Where k-means starts: k-means++ as an exponential race, or rows at random; both keyed by id."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt64

from s2l.selection import keyed
from s2l.selection.chunks import over_chunks
from s2l.selection.grid import Points

SLACK = 1 - 2.0**-40
"""Of the bound 1 − u ≤ −log u: far above what rounding does to either side."""

LARGER = 8
"""Chunks: a lap has little to do for most rows."""


def seed_rows(points: Points, ids: Shaped[np.ndarray, " N"], n_clusters: int, seed: int) -> Int[np.ndarray, " K"]:
    """Rows that k-means++ starts from (Arthur & Vassilvitskii 2007), all distinct, fewer where there are not so many.

    D² sampling as an exponential race: round r takes the row with the smallest -log(u) / D², u keyed by (seed, r, id).
    A row keeps its u whatever the other rows do, so a little noise changes few of the choices.
    """
    keys_N = keyed.keys(seed, "kmeans", ids)
    squared_N, nearest_N = np.ones(len(ids)), np.zeros(len(ids), dtype=np.int32)
    rows: list[int] = []
    seeds_RD = np.empty((0, points.grid_ND.shape[1]))

    def lap(chunk: slice) -> tuple[float, int]:
        if rows:
            _approach(points, chunk, seeds_RD, squared_N[chunk], nearest_N[chunk])
        wait, first = fastest(keyed.rounds(keys_N[chunk], len(rows)), squared_N[chunk])
        return wait, chunk.start + first

    while len(rows) < n_clusters:
        wait, row = min(over_chunks(lap, len(ids), larger=LARGER))
        if wait == np.inf:
            break
        rows.append(row)
        seeds_RD = np.concatenate([seeds_RD, points.rows(slice(row, row + 1))])
    return np.array(rows, dtype=np.int64)


def random_rows(points: Points, ids: Shaped[np.ndarray, " N"], n_clusters: int, seed: int) -> Int[np.ndarray, " K"]:
    """Rows to start from, uniformly at random, no two alike; fewer where there are not so many distinct ones.

    Only then are all rows looked at, one by one.
    """
    rows: list[int] = []
    seen: set[bytes] = set()
    for row in np.argsort(keyed.keys(seed, "kmeans/start", ids), kind="stable"):
        if len(rows) == n_clusters:
            break
        if (there := points.grid_ND[row].tobytes()) not in seen:
            seen.add(there)
            rows.append(int(row))
    return np.array(rows, dtype=np.int64)


def fastest(keys_n: UInt64[np.ndarray, " n"], squared_n: Float[np.ndarray, " n"]) -> tuple[float, int]:
    """The smallest -log(u) / D² and its row; infinite where every D² is 0.

    As 1 − u is never above −log u, few logarithms tell it.
    """
    uniform_n = keyed.uniform(keys_n)
    with np.errstate(divide="ignore", invalid="ignore"):
        bound_n = (1 - uniform_n) / squared_n
    bound_n[squared_n == 0] = np.inf
    first = int(bound_n.argmin())
    if squared_n[first] == 0:
        return np.inf, first
    limit = -np.log(uniform_n[first : first + 1])[0] / squared_n[first]
    rivals = np.flatnonzero(bound_n * SLACK <= limit)
    waits = -np.log(uniform_n[rivals]) / squared_n[rivals]
    return float(waits.min()), int(rivals[waits.argmin()])


def _approach(
    points: Points,
    chunk: slice,
    seeds_RD: Float[np.ndarray, "R D"],
    squared_n: Float[np.ndarray, " n"],
    nearest_n: Int[np.ndarray, " n"],
) -> None:
    """Lower the distances to the nearest seed by the last one, in place.

    A row whose seed is at least twice as far from the last one as from the row cannot come nearer.
    """
    between_R = np.square(seeds_RD - seeds_RD[-1]).sum(axis=1)
    if len(seeds_RD) == 1:
        squared_n[:] = np.square(points.rows(chunk) - seeds_RD[-1]).sum(axis=1)
        return
    maybe = np.flatnonzero(between_R[nearest_n] < 4 * squared_n)
    to_last = np.square(points.grid_ND[chunk][maybe].astype(np.float64) - seeds_RD[-1]).sum(axis=1)
    nearer = to_last < squared_n[maybe]
    squared_n[maybe[nearer]], nearest_n[maybe[nearer]] = to_last[nearer], len(seeds_RD) - 1
