"""A selection and its recorded rows for any pool, for tests of what is written about them."""

from __future__ import annotations

import numpy as np

from s2l.types import Recorded, Rows, Selection, Trajectories


def toy_recorded(rows: Rows) -> Recorded:
    """Response tokens 1, 2, 3, … in id order and ten more in all, of every row that is not excluded."""
    order = [i for i in np.argsort(rows.ids) if rows.ids[i] not in rows.excluded]
    tokens_N = np.arange(1, len(order) + 1)
    nll_NT = np.ones((len(order), 2), np.float32)
    trajectories = Trajectories(rows.ids[order], (1, 2), tokens_N, {"nll": nll_NT})
    return Recorded(trajectories, rows.source_N[order], rows.sources, tokens_N + 10)


def toy_selection(rows: Rows, kept: list[int]) -> Selection:
    """The rows with these numbers kept, in one cluster; the others not, or excluded."""
    kept_N = np.isin(np.arange(len(rows)), kept)
    excluded_N = np.isin(rows.ids, list(rows.excluded))
    reasons = ("drawn", "not drawn", *(f"excluded: {reason}" for reason in rows.excluded.values()))
    reason_N = np.where(kept_N, 0, 1)
    reason_N[excluded_N] = 2 + np.arange(excluded_N.sum())
    return Selection(
        method="s2l",
        budget=len(kept),
        ids=rows.ids,
        kept_N=kept_N,
        cluster_N=np.where(excluded_N, -1, 0),
        score_N=np.where(excluded_N, np.nan, 0.5),
        distance_N=np.where(excluded_N, np.nan, 0.25),
        reason_N=reason_N,
        reasons=reasons,
        facts={"clusters": 1, "stopped": "assignments", "sizes": [1]},
    )
