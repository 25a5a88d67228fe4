"""Which rows are looked at: pairs from every cluster, a plain sample, S2L's subset of a pool beside random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int, Shaped

from s2l.config import SelectSettings
from s2l.selection import keyed
from s2l.selection.allocate import allocate
from s2l.selection.budget import parse_budget
from s2l.selection.draw import queue_up, rows_for
from s2l.theory.meangradient import Subset
from s2l.types import Plan, Recorded


def plain(ids: Shaped[np.ndarray, " N"], rows: int, seed: int, purpose: str) -> Int[np.ndarray, " n"]:
    """So many rows at random, or all, in the order given."""
    return np.sort(np.argsort(keyed.keys(seed, purpose, ids), kind="stable")[:rows])


def pairs(
    ids: Shaped[np.ndarray, " N"], cluster_N: Int[np.ndarray, " N"], rows: int, seed: int
) -> Int[np.ndarray, " n"]:
    """At most so many rows, in the order given, two at least of every cluster that they come from.

    Whole pairs at random, shared evenly over the clusters as a budget is; a cluster of one row has none.
    """
    sizes_K = np.bincount(cluster_N)
    pairs_K = sizes_K // 2
    taken_K = 2 * allocate(pairs_K, min(rows // 2, int(pairs_K.sum())))
    by_cluster = np.lexsort((keyed.keys(seed, "verify/pairs", ids), cluster_N))
    place_N = np.arange(len(ids)) - np.repeat(np.cumsum(sizes_K) - sizes_K, sizes_K)
    return np.sort(by_cluster[place_N < np.repeat(taken_K, sizes_K)])


def kept_rows(
    plan: Plan,
    recorded: Recorded,
    select: SelectSettings,
    budget: str,
    pool: Int[np.ndarray, " P"],
    *,
    read: int,
    keep: frozenset[bytes],
) -> Bool[np.ndarray, " P"]:
    """Which rows of the pool the budget keeps, drawn by the plan: from all recorded rows those that the run keeps.

    From a part of them, the part's share of the budget.
    """
    ids = recorded.trajectories.ids
    strata_N = recorded.source_N if select.balance == "source" else None
    queues = queue_up(plan, ids, strata_N=strata_N, keep=keep)
    size = rows_for(parse_budget(budget), queues, recorded, read=read)
    if len(pool) == len(ids):
        return queues.take(size)
    part = replace(plan, group_N=plan.group_N[pool], score_N=plan.score_N[pool], distance_N=plan.distance_N[pool])
    wanted = keep.intersection(ids[pool].tolist())
    queues = queue_up(part, ids[pool], strata_N=None if strata_N is None else strata_N[pool], keep=wanted)
    return queues.take(max(1, len(wanted), round(size * len(pool) / len(ids))))


def beside_random(
    budget: str,
    cluster_N: Int[np.ndarray, " N"],
    kept_N: Bool[np.ndarray, " N"],
    ids: Shaped[np.ndarray, " N"],
    draws: int,
    seed: int,
) -> Subset:
    """The subset, and so many random ones of its size."""
    keys_N, size = keyed.keys(seed, "verify/draws", ids), int(kept_N.sum())
    drawn_DN = np.zeros((draws, len(ids)), dtype=bool)
    for draw, drawn_N in enumerate(drawn_DN):
        drawn_N[np.argsort(keyed.rounds(keys_N, draw), kind="stable")[:size]] = True
    return Subset(budget, cluster_N, kept_N, drawn_DN)


def evenly(things: Sequence[int], count: int) -> list[int]:
    """So many of them at most, evenly spread: the last, and of several the first too."""
    places = np.rint(np.linspace(len(things) - 1, 0, min(count, len(things)))).astype(int)
    return [things[place] for place in places[::-1]]
