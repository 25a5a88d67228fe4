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
    size = len(lengths_b)
    cost_b, start_b = np.full(size + 1, np.inf), np.zeros(size + 1, dtype=np.int64)
    cost_b[0] = 0
    for start, longest in enumerate(lengths_b.tolist()):
        rows = np.arange(1, min(size - start, max(1, batch_tokens // longest)) + 1)
        cost_r = cost_b[start] + rows * longest + BATCH_COST
        better = start + rows[cost_r < cost_b[start + rows]]
        cost_b[better], start_b[better] = cost_r[better - start - 1], start
    cuts: list[slice] = []
    stop = size
    while stop:
        start = int(start_b[stop])
        cuts.append(slice(start, stop))
        stop = start
    return cuts[::-1]
