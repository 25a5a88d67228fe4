"""Do clusters follow the sources? Purity, beside what one cluster and what shuffled sources give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from s2l.selection import keyed


@dataclass(frozen=True)
class Purity:
    """Share of the rows that are of their cluster's largest source.

    shuffled: the same after the sources were shuffled over the rows; many small clusters are pure by chance.
    """

    clusters: int
    purity: float
    shuffled: float


def purity(label_N: Int[np.ndarray, " N"], source_N: Int[np.ndarray, " N"]) -> float:
    """Mean over clusters of the share of the largest source, each cluster weighted by its rows."""
    sources = int(source_N.max()) + 1
    cells, rows = np.unique(label_N.astype(np.int64) * sources + source_N, return_counts=True)
    largest_K = np.zeros(int(label_N.max()) + 1, dtype=np.int64)
    np.maximum.at(largest_K, cells // sources, rows)
    return float(largest_K.sum() / len(label_N))


def shuffled(source_N: Int[np.ndarray, " N"], ids: Shaped[np.ndarray, " N"], seed: int) -> Int[np.ndarray, " N"]:
    """The sources over the rows in a keyed order."""
    shuffled_N: Int[np.ndarray, " N"] = source_N[np.argsort(keyed.keys(seed, "compare/purity", ids), kind="stable")]
    return shuffled_N


def purity_of(
    label_N: Int[np.ndarray, " N"], source_N: Int[np.ndarray, " N"], ids: Shaped[np.ndarray, " N"], seed: int
) -> Purity:
    """Of clusters numbered from 0, none of them empty."""
    return Purity(int(label_N.max()) + 1, purity(label_N, source_N), purity(label_N, shuffled(source_N, ids, seed)))
