"""SemDeDup: the rows that repeat another in meaning come last (Abbas et al. 2023, arXiv 2303.09540).

Mean last hidden states over response tokens are clustered by direction; inside a cluster the rows stand from the
farthest from its centre on, and a row's score is its cosine with the one most similar of those before it. The paper
keeps what is below a threshold 1 − ε; here the budget sets it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost, of_one_checkpoint
from s2l.selection.kmeans import kmeans
from s2l.selection.room import require_room
from s2l.selection.scores import AT_ONE, At, asked_of, column, ranked
from s2l.selection.unit import UNITS, directions
from s2l.types import Plan, Recorded

ROWS_IN_A_CLUSTER = 200
ITERATIONS = 20
COSINES = 2**22
"""Cosines in memory at once."""


class Settings(config.Settings):
    """How finely, and whose states."""

    clusters: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Clusters at most; one for 200 rows if not given."
    )
    at: At = Field("late", description=AT_ONE)


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:
    """The least similar to any row before it in its cluster first."""
    ids = recorded.trajectories.ids
    at = column(settings.at, recorded.trajectories.steps)
    units_ND = directions(asked_of(recorded).embeddings("response", at))
    require_room("semdedup", len(ids), lambda rows: (6 * units_ND.shape[1] + 64) * rows + 32 * COSINES)
    clusters = settings.clusters or max(1, len(ids) // ROWS_IN_A_CLUSTER)
    clustering = kmeans(
        units_ND / UNITS, ids, clusters, seed, at_most=True, max_iterations=ITERATIONS, progress=progress
    )
    similarity_N = np.empty(len(ids))
    order = np.lexsort((-clustering.distance_N, clustering.label_N))
    for members in np.split(order, np.cumsum(clustering.sizes_K)[:-1]):
        similarity_N[members] = similarity_to_those_before(units_ND[members])
    return ranked(similarity_N, clusters=len(clustering.sizes_K), above_095=int((similarity_N > 0.95).sum()))


def similarity_to_those_before(units_nD: Float[np.ndarray, "n D"]) -> Float[np.ndarray, " n"]:
    """Largest cosine of each row with one before it, 0 with a row of zeros; -1 for the first.

    Of whole numbers until the last step: the same on any machine, and 1 for a repeat.
    """
    squared_n = np.einsum("nd,nd->n", units_nD, units_nD, dtype=np.float64)
    largest_n = np.empty(len(units_nD))
    at_once = max(1, COSINES // len(units_nD))
    for start in range(0, len(units_nD), at_once):
        stop = min(start + at_once, len(units_nD))
        product_ij = units_nD[start:stop] @ units_nD[:stop].T
        cosine_ij = product_ij / np.sqrt(np.maximum(squared_n[start:stop, None] * squared_n[:stop], 1))
        cosine_ij[:, start:][np.triu_indices(stop - start)] = -1
        largest_n[start:stop] = cosine_ij.max(axis=1)
    return largest_n


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """One pass for the embeddings of one checkpoint."""
    return of_one_checkpoint(settings.at, steps, more=1)
