"""How far two methods agree: rows that both choose, what chance gives, and how alike they rank."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped

from s2l.types import Plan


def jaccard(one_N: Bool[np.ndarray, " N"], other_N: Bool[np.ndarray, " N"]) -> float:
    """Rows in both, of those in either."""
    return float((one_N & other_N).sum() / (one_N | other_N).sum())


def jaccard_by_chance(one: int, other: int, n_rows: int) -> float:
    """The same of two independent random sets of so many of the rows: their mean overlap, over what is then in either.

    The mean overlap is that of the hypergeometric law, one · other / N.
    """
    both = one * other / n_rows
    return both / (one + other - both)


def ranks(values_N: Shaped[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Each value's place among all, from 1, the lowest first; equal ones share the mean of theirs."""
    _, inverse_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    ranks_N: Float[np.ndarray, " N"] = (np.cumsum(counts) - (counts - 1) / 2)[inverse_N]
    return ranks_N


def ranking(plan: Plan) -> Float[np.ndarray, " N"] | None:
    """Ranks of the rows as the plan takes them, centred and of length 1; None for groups and where all rank alike."""
    if plan.group_N.any():
        return None
    ranks_N = ranks(plan.score_N)
    if plan.last_N is not None:
        ranks_N = ranks(ranks_N + len(ranks_N) * plan.last_N)
    ranks_N -= ranks_N.mean()
    length = float(np.sqrt(np.square(ranks_N).sum()))
    return ranks_N / length if length > 0 else None


def rank_correlation(one_N: Float[np.ndarray, " N"] | None, other_N: Float[np.ndarray, " N"] | None) -> float | None:
    """Spearman's, of two `ranking`s: 1 the same order, 0 none in common, -1 the reverse; None where one is None."""
    if one_N is None or other_N is None:
        return None
    return float(np.clip((one_N * other_N).sum(), -1, 1))
