"""Greedy covers of a set of directions, one row after the other: facility location and k-center, without N × N."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from jaxtyping import Float, Int

from s2l.progress import Advance
from s2l.selection.room import require_room
from s2l.selection.unit import UNITS

CANDIDATES = 32
"""Rows whose gains are computed in one product."""
KEPT = 2**26
"""Similarities in memory at most."""
PART = 2**13
"""Of the room that is left for similarities, a row that is new to it gets at most one part in so many."""


def facility_location(
    units_ND: Float[np.ndarray, "N D"], n_rows: int, advance: Advance
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " n"]]:
    """All rows, the first `n_rows` in the order of greedy facility location, and their gains; ties to the smaller row.

    Maximises Σ_i max_{j chosen} (u² + x_i·x_j), that is (1 + cos) / 2 in units of 2 u². A gain only ever falls, so a
    row's last gain is a bound, and only the rows of the largest bounds are computed again (Minoux 1978). N² D products
    once, then some N D a row while few are chosen, and ever fewer. Raises MachineError where there is no room.
    """
    size = len(units_ND)
    require_room("facility location", size, facility_location_bytes)
    total_N = np.einsum("nd,d->n", units_ND, units_ND.sum(axis=0, dtype=np.float64))
    first = int(total_N.argmax())
    order, gained = [first], [float(total_N[first]) + size * UNITS**2]
    advance(1)
    gains = Gains(units_ND, first)
    queue = [(-np.inf, row) for row in range(size) if row != first]
    computed_at = [0] * size
    for place in range(1, n_rows):
        while computed_at[queue[0][1]] < place:
            stale: list[int] = []
            at_once = 1 if queue[0][1] in gains.kept else CANDIDATES
            while queue and len(stale) < at_once and computed_at[queue[0][1]] < place:
                stale.append(heappop(queue)[1])
            for row, gain in zip(stale, gains.of(stale), strict=True):
                heappush(queue, (-gain, row))
                computed_at[row] = place
        bound, row = heappop(queue)
        order.append(row)
        gained.append(-bound)
        gains.take(row)
        advance(1)
    return np.array(order + [row for _, row in sorted(queue)]), np.array(gained)


def facility_location_bytes(n_rows: int) -> int:
    """Memory of `facility_location` beside the directions, at most: what is kept, one product, and the queue."""
    return 8 * min(KEPT, n_rows**2) + (8 * CANDIDATES + 800) * n_rows


class Gains:
    """What each row would add to a cover: summed over the rows that are more like it than like any chosen one.

    kept: those rows, and its similarity to them, while there is room: they only get fewer as more is chosen.
    """

    def __init__(self, units_ND: Float[np.ndarray, "N D"], first: int) -> None:
        self.units_ND = units_ND
        self.best_N = units_ND @ units_ND[first]
        self.room = KEPT
        self.kept: dict[int, tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]] = {}

    def of(self, rows: list[int]) -> list[float]:
        """The gain of each of these rows now, in squared grid units."""
        unknown = [row for row in rows if row not in self.kept]
        similar = dict(zip(unknown, self.units_ND[unknown] @ self.units_ND.T, strict=True)) if unknown else {}
        return [self._of(row, *(self.kept[row] if row in self.kept else (None, similar[row]))) for row in rows]

    def take(self, row: int) -> None:
        """Choose the row."""
        if row in self.kept:
            rows_m, similar_m = self.kept.pop(row)
            self.room += len(rows_m)
            self.best_N[rows_m] = np.maximum(self.best_N[rows_m], similar_m)
        else:
            np.maximum(self.best_N, self.units_ND @ self.units_ND[row], out=self.best_N)

    def _of(self, row: int, rows_m: Int[np.ndarray, " m"] | None, similar_m: Float[np.ndarray, " m"]) -> float:
        """From its similarity to these rows, or to all of them; keeps what still counts."""
        more_m = similar_m - (self.best_N if rows_m is None else self.best_N[rows_m])
        ahead_m = more_m > 0
        count = int(np.count_nonzero(ahead_m))
        if rows_m is not None or count <= self.room // PART:
            ahead = np.flatnonzero(ahead_m)
            self.room += (0 if rows_m is None else len(rows_m)) - count
            self.kept[row] = ahead.astype(np.int32) if rows_m is None else rows_m[ahead], similar_m[ahead]
        return float(np.maximum(more_m, 0, out=more_m).sum(dtype=np.float64))


def k_center(
    units_ND: Float[np.ndarray, "N D"], chosen: Int[np.ndarray, " m"], n_rows: int, advance: Advance
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """All rows, `chosen` first, then in farthest-first order up to `n_rows`, and each one's squared distance.

    Each next row is the one farthest from all before it (Gonzalez 1985); ties go to the smaller row. Distances are in
    squared grid units, to the nearest row before it, of the rows beyond `n_rows` to the nearest of the `n_rows`; inf
    for the first. N D products a row. Raises MachineError where there is no room.
    """
    assert 0 < len(chosen) <= n_rows <= len(units_ND)
    require_room("k-center", len(units_ND), k_center_bytes)
    norm_N = np.einsum("nd,nd->n", units_ND, units_ND, dtype=np.float64)
    nearest_N = np.full(len(units_ND), np.inf)
    order, squared = np.empty(n_rows, dtype=np.int64), np.empty(n_rows)
    for place in range(n_rows):
        row = chosen[place] if place < len(chosen) else nearest_N.argmax()
        order[place], squared[place] = row, nearest_N[row]
        np.minimum(nearest_N, norm_N + norm_N[row] - 2 * (units_ND @ units_ND[row]), out=nearest_N)
        nearest_N[row] = -1
        advance(1)
    others = np.argsort(-nearest_N, kind="stable")[: len(units_ND) - n_rows]
    return np.concatenate([order, others]), np.concatenate([squared, nearest_N[others]])


def k_center_bytes(n_rows: int) -> int:
    """Memory of `k_center` beside the directions, at most."""
    return 64 * n_rows
