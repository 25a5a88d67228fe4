"""SemDeDup: the rows that repeat another in meaning come last (Abbas et al. 2023, arXiv 2303.09540).

Mean last hidden states over response tokens are clustered; inside a cluster rows are kept from the farthest from its
centre on, and a row's score is its cosine with the most similar one kept before it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost, of_one_model
from s2l.selection.kmeans import kmeans
from s2l.selection.scores import AT_ONE, At, asked_of, column, ranked
from s2l.selection.unit import UNITS, directions
from s2l.types import Plan, Recorded

ROWS_IN_A_CLUSTER = 200
AT_ONCE = 4096


class Settings(config.Settings):
    """How finely, and whose states."""

    clusters: Annotated[int, Field(ge=1)] | None = Field(None, description="Clusters; one for 200 rows if not given.")
    at: At = Field("late", description=AT_ONE)


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:
    """The least similar to any row before it in its cluster first."""
    ids = recorded.trajectories.ids
    at = column(settings.at, recorded.trajectories.steps)
    units_ND = directions(asked_of(recorded).embeddings("response", at))
    clusters = settings.clusters or max(1, len(ids) // ROWS_IN_A_CLUSTER)
    clustering = kmeans(units_ND / UNITS, ids, clusters, seed, at_most=True, max_iterations=20, progress=progress)
    similarity_N = np.empty(len(ids))
    order = np.lexsort((np.arange(len(ids)), -clustering.distance_N, clustering.label_N))
    for members in np.split(order, np.cumsum(clustering.sizes_K)[:-1]):
        similarity_N[members] = _to_those_before(units_ND[members])
    return ranked(similarity_N, clusters=len(clustering.sizes_K), above_095=int((similarity_N > 0.95).sum()))


def _to_those_before(units_nD: np.ndarray) -> np.ndarray:
    """Largest cosine of each row with one before it; -1 for the first."""
    largest_n = np.full(len(units_nD), -1.0)
    for start in range(0, len(units_nD), AT_ONCE):
        part = units_nD[start : start + AT_ONCE]
        similar = part @ units_nD[: start + len(part)].T
        similar[np.triu_indices(len(part), start, similar.shape[1])] = -np.inf
        largest_n[start : start + AT_ONCE] = np.maximum(similar.max(axis=1) / UNITS**2, -1)
    return largest_n


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """One pass for the embeddings."""
    return of_one_model(settings.at, steps, recorded=False, more=1)
