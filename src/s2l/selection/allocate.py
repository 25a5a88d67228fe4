"""How many rows each group gives: the budget shared evenly, smallest group first (arXiv 2403.07384, algorithm 1)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def allocate(sizes_K: Int[np.ndarray, " K"], budget: int) -> Int[np.ndarray, " K"]:
    """Rows to take from each group: exactly `budget` together, a group below its share taken whole ("water-filling").

    Groups of equal size are served in the order given. A larger budget takes no less from any group.
    """
    assert 0 <= budget <= sizes_K.sum(), "the budget must be there to take"
    counts_K = np.zeros(len(sizes_K), dtype=np.int64)
    left = budget
    for served, group in enumerate(np.argsort(sizes_K, kind="stable")):
        counts_K[group] = min(int(sizes_K[group]), left // (len(sizes_K) - served))
        left -= int(counts_K[group])
    return counts_K
