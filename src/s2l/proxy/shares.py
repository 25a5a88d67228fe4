"""How a global batch is shared: rows dealt over ranks and workers, each share cut into micro-batches."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

BATCH_COST = 128
"""What a pass costs beyond its tokens, in tokens: measured on small models and CPU cores."""


def deal(
    lengths_B: Int[np.ndarray, " B"], responses_B: Int[np.ndarray, " B"], shares: int
) -> list[Int[np.ndarray, " _"]]:
    """Rows of each share, longest first: the longest that is left goes to the share with the least to do.

    A row costs its tokens (in the trunk) and its response tokens (in the head). The first share is never empty.
    """
    loads = [0] * shares
    dealt: list[list[int]] = [[] for _ in range(shares)]
    for row in np.argsort(-lengths_B, kind="stable").tolist():
        least = loads.index(min(loads))
        dealt[least].append(row)
        loads[least] += int(lengths_B[row] + responses_B[row])
    return [np.array(rows, dtype=np.int64) for rows in dealt]


def cut(lengths_b: Int[np.ndarray, " b"], batch_tokens: int) -> list[slice]:
    """Where to cut rows, longest first, into micro-batches of at most `batch_tokens` padded tokens (one row at least).

    The cut with the least padding, each micro-batch costing `BATCH_COST` tokens of its own.
    """
    lengths = lengths_b.tolist()
    best: list[tuple[float, int]] = [(0, 0)] + [(float("inf"), 0)] * len(lengths)
    for start, longest in enumerate(lengths):
        for stop in range(start + 1, len(lengths) + 1):
            padded = (stop - start) * longest
            if padded > batch_tokens and stop > start + 1:
                break
            best[stop] = min(best[stop], (best[start][0] + padded + BATCH_COST, start))
    cuts: list[slice] = []
    stop = len(lengths)
    while stop:
        start = best[stop][1]
        cuts.append(slice(start, stop))
        stop = start
    return cuts[::-1]
