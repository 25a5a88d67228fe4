"""A plan → exactly the budget: rows kept on request first, then evenly over sources and groups, best score first."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

from s2l.errors import SettingsError, shown
from s2l.ids import find_ids
from s2l.selection.allocate import allocate
from s2l.selection.budget import Budget, resolve
from s2l.types import Plan, Recorded


@dataclass(frozen=True)
class Queues:
    """Rows waiting to be taken, one queue J for each group of each stratum, numbered by their smallest id.

    queue_N: -1 where the row is kept on request. place_N: in its queue, from 0. first_J: row of the smallest id.
    last_J: queues of rows that the method turns away; their stratum's other queues are emptied first.
    """

    requested_N: Bool[np.ndarray, " N"]
    queue_N: Int[np.ndarray, " N"]
    place_N: Int[np.ndarray, " N"]
    sizes_J: Int[np.ndarray, " J"]
    stratum_J: Int[np.ndarray, " J"]
    first_J: Int[np.ndarray, " J"]
    last_J: Bool[np.ndarray, " J"]

    def share(self, budget: int) -> Int[np.ndarray, " J"]:
        """Rows that `budget` takes from each queue: evenly over strata, then over the groups of each."""
        sizes_S = np.zeros(self.stratum_J.max(initial=-1) + 1, dtype=np.int64)
        np.add.at(sizes_S, self.stratum_J, self.sizes_J)
        taken_J = np.zeros(len(self.sizes_J), dtype=np.int64)
        for stratum, rows in enumerate(allocate(sizes_S, budget - int(self.requested_N.sum()))):
            left = int(rows)
            for last in (False, True):
                members = np.flatnonzero((self.stratum_J == stratum) & (self.last_J == last))
                taken_J[members] = allocate(self.sizes_J[members], min(left, int(self.sizes_J[members].sum())))
                left -= int(taken_J[members].sum())
        return taken_J

    def take(self, budget: int) -> Bool[np.ndarray, " N"]:
        """The rows that `budget` keeps; a larger budget keeps them too."""
        kept_N = self.requested_N.copy()
        waiting_N = ~kept_N
        kept_N[waiting_N] = self.place_N[waiting_N] < self.share(budget)[self.queue_N[waiting_N]]
        return kept_N


def draw(
    plan: Plan,
    recorded: Recorded,
    budget: int,
    *,
    strata_N: Int[np.ndarray, " N"] | None = None,
    keep: frozenset[bytes] = frozenset(),
) -> Bool[np.ndarray, " N"]:
    """Which rows to keep, in id order: exactly `budget`, all of `keep` among them."""
    return queue_up(plan, recorded.trajectories.ids, strata_N=strata_N, keep=keep).take(budget)


def queue_up(
    plan: Plan,
    ids: Shaped[np.ndarray, " N"],
    *,
    strata_N: Int[np.ndarray, " N"] | None = None,
    keep: frozenset[bytes] = frozenset(),
) -> Queues:
    """Line up the rows of every group by (score, id).

    Raises SettingsError where a row to keep is not among `ids`.
    """
    assert np.isfinite(plan.score_N).all(), "a method ranks every row: what it rejects comes last"
    requested_N = among(ids, keep)
    waiting = np.flatnonzero(~requested_N)
    strata_W = np.zeros(len(waiting), dtype=np.int64) if strata_N is None else strata_N[waiting]
    stratum_W, _ = _numbered_by_first(strata_W)
    last_W = np.zeros(len(waiting), dtype=bool) if plan.last_N is None else plan.last_N[waiting]
    group_W = plan.group_N[waiting] * 2 + last_W
    queue_W, first_J = _numbered_by_first(stratum_W * 2 * (plan.group_N.max(initial=0) + 1) + group_W)
    sizes_J = np.bincount(queue_W)
    in_line = np.lexsort((plan.score_N[waiting], queue_W))
    place_W = np.empty(len(waiting), dtype=np.int64)
    place_W[in_line] = np.arange(len(waiting)) - np.repeat(np.cumsum(sizes_J) - sizes_J, sizes_J)

    queue_N, place_N = np.full((2, len(ids)), -1)
    queue_N[waiting], place_N[waiting] = queue_W, place_W
    return Queues(requested_N, queue_N, place_N, sizes_J, stratum_W[first_J], waiting[first_J], last_W[first_J])


def among(ids: Shaped[np.ndarray, " N"], keep: frozenset[bytes]) -> Bool[np.ndarray, " N"]:
    """Which of the ids (ascending) are to be kept on request; SettingsError where one to keep is not among them."""
    wanted = np.array(sorted(keep), dtype=np.bytes_)
    at, there = find_ids(wanted, ids)
    requested_N = np.zeros(len(ids), dtype=bool)
    requested_N[at[there]] = True
    if not there.all():
        missing = wanted[~there].tolist()
        raise SettingsError(
            f"{len(missing)} of {len(keep)} ids to keep are not in the pool or were excluded, "
            f"the first: {shown(missing[0].decode(errors='replace'))}"
        )
    return requested_N


def rows_for(budget: Budget, queues: Queues, recorded: Recorded, *, read: int) -> int:
    """Rows that the budget means for this draw; of tokens, the most rows whose tokens stay within it.

    Raises SettingsError when that is no row, fewer than the rows kept on request, or more than can be chosen.
    """
    requested = int(queues.requested_N.sum())
    if budget.kind == "tokens":
        lengths_N = recorded.lengths_N
        check_tokens(budget, lengths_N)
        sizes = range(requested, len(recorded) + 1)
        fitting = bisect_right(sizes, int(budget.amount), key=lambda rows: int(lengths_N[queues.take(rows)].sum()))
        rows = requested + fitting - 1
    else:
        rows = resolve(budget, read=read, scorable=len(recorded))
    if rows < requested:
        raise SettingsError(
            f"budget {budget} has no room for the {requested:,} rows to keep: ask for more, or keep fewer"
        )
    if rows == 0:
        raise SettingsError(f"budget {budget} chooses no row: the first alone is longer")
    return rows


def most_rows(budget: Budget, recorded: Recorded, *, read: int) -> int:
    """The most rows that the budget can mean for any draw: of tokens, as many as the shortest rows have."""
    if budget.kind != "tokens":
        return resolve(budget, read=read, scorable=len(recorded))
    fitting = np.searchsorted(np.cumsum(np.sort(recorded.lengths_N)), int(budget.amount), side="right")
    return max(1, int(fitting))


def check_tokens(budget: Budget, lengths_N: Int[np.ndarray, " N"]) -> None:
    """Raises SettingsError for a budget of more tokens than the rows that can be chosen have."""
    if budget.amount > (there := int(lengths_N.sum())):
        raise SettingsError(
            f"budget {budget} is above the {there:,} tokens "
            f"of the {len(lengths_N):,} rows that can be chosen: ask for less"
        )


def _numbered_by_first(codes_W: Int[np.ndarray, " W"]) -> tuple[Int[np.ndarray, " W"], Int[np.ndarray, " J"]]:
    """The codes numbered from 0 in the order in which they first occur, and where that is."""
    if codes_W.max(initial=0) > 4 * len(codes_W):
        codes_W = np.unique(codes_W, return_inverse=True)[1]
    first_C = np.full(codes_W.max(initial=-1) + 1, -1)
    first_C[codes_W[::-1]] = np.arange(len(codes_W))[::-1]
    there = np.flatnonzero(first_C >= 0)
    order_J = there[np.argsort(first_C[there])]
    number_C = np.empty_like(first_C)
    number_C[order_J] = np.arange(len(order_J))
    return number_C[codes_W], first_C[order_J]
