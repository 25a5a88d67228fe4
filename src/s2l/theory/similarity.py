"""Are gradients of rows in one group more alike than those of different groups? Cosines, inside against between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from s2l.errors import NumericsError
from s2l.selection import keyed
from s2l.theory.intervals import Interval, middle, resampled

SHUFFLES = 200


@dataclass(frozen=True)
class Similarity:
    """Cosines of pairs of rows, by group; JSON-able.

    inside: mean over groups of the mean over their pairs. between: mean over all pairs of rows of two groups.
    interval: of inside − between, 95 %, groups resampled. shuffled: inside − between after the groups were dealt out
    anew over the rows, its mean, and what holds the middle 95 % of the deals.
    """

    rows: int
    groups: int
    inside: float
    between: float
    difference: float
    interval: Interval
    shuffled: float
    shuffled_interval: Interval

    def sentence(self, group: str) -> str:
        """What it means, for a person; `group`: the word for a group."""
        low, high = self.interval
        if low > 0 and self.difference > self.shuffled_interval[1]:
            verdict = "more alike than"
        elif high < 0 and self.difference < self.shuffled_interval[0]:
            verdict = "less alike than"
        else:
            verdict = "neither more nor less alike, as far as can be seen, than"
        return (
            f"Gradients of rows in one {group} are {verdict} those of different {group}s: cosine {self.inside:z.3f} "
            f"against {self.between:z.3f} (difference {self.difference:z.3f}, 95 % interval "
            f"{low:z.3f} to {high:z.3f}); with the {group}s shuffled {self.shuffled:z.3f}."
        )


def similarity(
    gradients_ND: Float[np.ndarray, "N D"],
    group_N: Int[np.ndarray, " N"],
    ids: Shaped[np.ndarray, " N"],
    seed: int,
) -> Similarity | None:
    """Of the groups with two rows at least; None where there are fewer than two of them.

    A gradient of nothing but zeros has cosine 0 with any other. Raises NumericsError for one that is not finite.
    """
    _, group_N, sizes_K = np.unique(group_N, return_inverse=True, return_counts=True)
    used_N = sizes_K[group_N] > 1
    order = np.flatnonzero(used_N)[np.argsort(group_N[used_N], kind="stable")]
    sizes_K = sizes_K[sizes_K > 1]
    if len(sizes_K) < 2:
        return None
    units_nD = _units(gradients_ND[order])
    keys_n = keyed.keys(seed, "verify/shuffle", ids[order])
    table = _Table.of(units_nD, sizes_K)
    once_K = np.ones(len(sizes_K))
    inside, between = table.cosines(once_K)
    replicates = [table.cosines(times_K) for times_K in resampled(len(sizes_K), seed, "verify/groups")]
    shuffles = []
    for r in range(SHUFFLES):
        dealt = np.argsort(keyed.rounds(keys_n, r), kind="stable")
        shuffles.append(np.subtract(*_Table.of(units_nD[dealt], sizes_K).cosines(once_K)))
    return Similarity(
        rows=len(order),
        groups=len(sizes_K),
        inside=inside,
        between=between,
        difference=inside - between,
        interval=middle(np.array([a - b for a, b in replicates])),
        shuffled=float(np.mean(shuffles)),
        shuffled_interval=middle(np.array(shuffles)),
    )


@dataclass(frozen=True)
class _Table:
    """Sums of the cosines of all pairs of groups, and of the pairs inside each."""

    sizes_K: Int[np.ndarray, " K"]
    inside_K: Float[np.ndarray, " K"]
    products_KK: Float[np.ndarray, "K K"]

    @classmethod
    def of(cls, units_nD: Float[np.ndarray, "n D"], sizes_K: Int[np.ndarray, " K"]) -> _Table:
        """Of unit vectors, those of a group side by side: Σ_{i≠j} u_i·u_j = ‖Σ u‖² − Σ ‖u‖²."""
        starts_K = np.cumsum(sizes_K) - sizes_K
        sums_KD = np.add.reduceat(units_nD, starts_K, axis=0)
        own_K = np.add.reduceat(np.square(units_nD).sum(axis=1), starts_K)
        products_KK = sums_KD @ sums_KD.T
        inside_K = (np.diag(products_KK) - own_K) / (sizes_K * (sizes_K - 1))
        np.fill_diagonal(products_KK, 0)
        return cls(sizes_K, inside_K, products_KK)

    def cosines(self, times_K: Shaped[np.ndarray, " K"]) -> tuple[float, float]:
        """Inside and between, each group counted so many times; between is nan where one group alone is counted."""
        inside = float(times_K @ self.inside_K / times_K.sum())
        rows_K = times_K * self.sizes_K
        pairs = float(rows_K.sum() ** 2 - np.square(rows_K).sum())
        between = float(times_K @ self.products_KK @ times_K) / pairs if pairs else float("nan")
        return inside, between


def _units(vectors_nD: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
    """Each vector over its norm, float64."""
    vectors_nD = vectors_nD.astype(np.float64)
    if not np.isfinite(vectors_nD).all():
        raise NumericsError("a gradient is not a finite number; the model has diverged")
    norm_n1 = np.sqrt(np.square(vectors_nD).sum(axis=1, keepdims=True))
    units_nD: Float[np.ndarray, "n D"] = vectors_nD / np.where(norm_n1 > 0, norm_n1, 1)
    return units_nD
