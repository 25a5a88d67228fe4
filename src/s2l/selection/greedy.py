"""Greedy covers of a set of directions, one row after the other: facility location and k-center, without N × N."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from s2l.progress import Advance

CANDIDATES = 32
"""Rows whose gain is computed in one product."""
AT_ONCE = 2**26
"""Similarities in memory at once while the first gains are computed."""


def facility_location(
    units_ND: Float[np.ndarray, "N D"], n_rows: int, advance: Advance
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " n"]]:
    """All rows, the first `n_rows` in the order of greedy facility location, and their gains; ties to the smaller row.

    Maximises Σ_i max_{j chosen} (u² + x_i·x_j), that is (1 + cos) / 2 in units of 2 u². A gain only ever falls, so a
    row's last gain is a bound, and only the rows of the largest bounds are computed again (Minoux 1978). N² D products
    for the first gains; memory beside the directions: 8 · AT_ONCE + 4 N (2 · CANDIDATES + 8) bytes at most.
    """
    size = len(units_ND)
    offset = np.float32(2**22)
    best_N = np.zeros(size, dtype=np.float32)
    bound_N = np.empty(size)
    block = max(1, AT_ONCE // size)
    for start in range(0, size, block):
        similar_nN = units_ND[start : start + block] @ units_ND.T
        bound_N[start : start + block] = np.maximum(similar_nN + offset, 0).sum(axis=1, dtype=np.float64)
    order, gains = np.empty(n_rows, dtype=np.int64), np.empty(n_rows)
    fresh = np.zeros(size, dtype=bool)
    for place in range(n_rows):
        fresh[:] = False
        while True:
            top = _largest(bound_N, CANDIDATES)
            if fresh[top[0]]:
                break
            stale = top[~fresh[top]]
            similar_Nc = units_ND @ units_ND[stale].T + offset
            bound_N[stale] = np.maximum(similar_Nc - best_N[:, None], 0).sum(axis=0, dtype=np.float64)
            fresh[stale] = True
        chosen = top[0]
        order[place], gains[place] = chosen, bound_N[chosen]
        np.maximum(best_N, units_ND @ units_ND[chosen] + offset, out=best_N)
        bound_N[chosen] = -1
        advance(1)
    return _completed(order, bound_N), gains


def k_center(
    units_ND: Float[np.ndarray, "N D"], first: int, n_rows: int, advance: Advance
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " n"]]:
    """All rows, the first `n_rows` in farthest-first order from `first`, and the squared distance of each when taken.

    Each next row is the one farthest from all before it (Gonzalez 1985); ties go to the smaller row. Squared distances
    in grid units; N D products a row; memory beside the directions: 12 N bytes.
    """
    norm_N = np.square(units_ND).sum(axis=1)
    nearest_N = np.full(len(units_ND), np.inf, dtype=np.float32)
    order, distances = np.empty(n_rows, dtype=np.int64), np.empty(n_rows)
    chosen = first
    for place in range(n_rows):
        order[place], distances[place] = chosen, nearest_N[chosen]
        distance_N = norm_N + norm_N[chosen] - 2 * (units_ND @ units_ND[chosen])
        np.minimum(nearest_N, distance_N, out=nearest_N)
        nearest_N[chosen] = -1
        chosen = int(nearest_N.argmax())
        advance(1)
    return _completed(order, nearest_N), distances


def _completed(order_n: Int[np.ndarray, " n"], worth_N: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """The rows in order, then the others, those worth most first."""
    others = np.argsort(-worth_N, kind="stable")
    return np.concatenate([order_n, others[~np.isin(others, order_n)]])


def _largest(values_N: Float[np.ndarray, " N"], count: int) -> Int[np.ndarray, " count"]:
    """Places of the largest values, largest first, ties to the smaller place."""
    if count >= len(values_N):
        return np.argsort(-values_N, kind="stable")
    threshold = np.partition(values_N, -count)[-count]
    top = np.flatnonzero(values_N >= threshold)
    return top[np.argsort(-values_N[top], kind="stable")][:count]
