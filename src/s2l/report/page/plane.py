"""Rows as points: the two principal components of their loss trajectories, and the data map of cartography."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from s2l.report.page.groups import Groups
from s2l.report.page.seen import Seen
from s2l.report.page.words import name_of, place_of, short
from s2l.selection import keyed
from s2l.selection.chunks import over_chunks
from s2l.types import Trajectories

CHOSEN, OTHERS = 1_500, 2_500
MOST_SOURCES = 100


def plane(seen: Seen, groups: Groups) -> dict[str, Any]:
    """A keyed sample of the chosen rows and one of the others, as columns, with where each stands on both maps.

    confidence, variability: mean and standard deviation, over the checkpoints that training made, of the mean
    probability of a row's response tokens; correctness: the share of them that was most probable (arXiv 2009.10795).
    """
    chosen = sample(seen, np.flatnonzero(seen.kept_N), CHOSEN)
    others = sample(seen, np.flatnonzero(~seen.kept_N), OTHERS)
    rows = np.sort(np.concatenate([chosen, others]))
    mean_T, axes_T2, explained = principal(seen.trajectories)
    place_n2 = (seen.trajectories.mean("nll", rows) - mean_T) @ axes_T2
    probability_nT = seen.trained("p_target", rows)
    hits_nT = seen.trained("hits", rows)
    sources, source_N = _largest_sources(seen)
    row_n = seen.row_N[rows]
    files, file_n = np.unique(seen.rows.file_N[row_n], return_inverse=True)
    return {
        "explained": short(explained),
        "sampled": {"chosen": len(chosen), "others": len(others)},
        "of": {"chosen": int(seen.kept_N.sum()), "others": int((~seen.kept_N).sum())},
        "sources": sources,
        "files": [place_of(seen.rows.files[file]) for file in files],
        "x": short(place_n2[:, 0]),
        "y": short(place_n2[:, 1]),
        "confidence": short(probability_nT.mean(axis=1), 6),
        "variability": short(probability_nT.std(axis=1), 6),
        "correctness": short(hits_nT.mean(axis=1), 2),
        "loss": short(seen.losses(-1)[rows]),
        "chosen": seen.kept_N[rows].astype(int).tolist(),
        "group": groups.group_N[rows].tolist(),
        "source": source_N[rows].tolist(),
        "file": file_n.tolist(),
        "line": seen.rows.line_N[row_n].tolist(),
    }


def sample(seen: Seen, rows: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
    """So many of the rows at most, at random by their ids."""
    return rows[np.argsort(keyed.keys(seen.seed, "report/map", seen.ids[rows]), kind="stable")[:most]]


def principal(
    trajectories: Trajectories,
) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, "T 2"], Float[np.ndarray, " 2"]]:
    """Mean of all loss trajectories, the two axes along which they vary most, and the share of variance of each.

    Each axis points where its largest component is positive. With one checkpoint the second axis is nothing.
    """
    n_rows, checkpoints = len(trajectories), len(trajectories.steps)
    mean_T = sum(over_chunks(lambda rows: trajectories.mean("nll", rows).sum(axis=0), n_rows), np.zeros(checkpoints))
    mean_T = mean_T / n_rows

    def scatter(rows: slice) -> Float[np.ndarray, "T T"]:
        centred_nT = trajectories.mean("nll", rows) - mean_T
        scatter_TT: Float[np.ndarray, "T T"] = centred_nT.T @ centred_nT
        return scatter_TT

    values_T, vectors_TT = np.linalg.eigh(sum(over_chunks(scatter, n_rows), np.zeros((checkpoints, checkpoints))))
    axes_T2, shares = np.zeros((checkpoints, 2)), np.zeros(2)
    for axis in range(min(2, checkpoints)):
        vector_T = vectors_TT[:, -1 - axis]
        axes_T2[:, axis] = vector_T * np.sign(vector_T[np.abs(vector_T).argmax()])
        shares[axis] = max(0.0, values_T[-1 - axis]) / max(values_T.sum(), np.finfo(float).tiny)
    return mean_T, axes_T2, shares


def _largest_sources(seen: Seen) -> tuple[list[str], Int[np.ndarray, " N"]]:
    """Names of the 100 largest sources, and each row's place among them, -1 for the rest."""
    sizes = np.bincount(seen.source_N, minlength=len(seen.rows.sources))
    largest = np.argsort(-sizes, kind="stable")[:MOST_SOURCES]
    place = np.full(len(sizes), -1)
    place[largest] = np.arange(len(largest))
    return [name_of(seen.rows.sources[source]) for source in largest], place[seen.source_N]
