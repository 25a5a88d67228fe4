"""XMAS: many small clusters of trajectories, and the steadiest rows of each (Naharas et al. 2025, arXiv 2510.01454).

The paper clusters the singular values of cross-modal attention in a small vision-language model; a language model has
none, so the trajectories are S2L's losses. K = 1000, evenly, least Σ_t |l_t − l_{t−1}| first: s2l with clusters=1000
and within=stable.
"""

from __future__ import annotations

from s2l.progress import Progress
from s2l.selection.cost import Cost, of_trajectories
from s2l.selection.grouping import ClusterSettings, by_trajectory, told, unsteadiness
from s2l.types import Plan, Recorded

CLUSTERS = 1000


class Settings(ClusterSettings):
    """The paper's setting (K = 1000) is the default."""


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:
    """Clusters as groups, ranked inside by how far the loss moves from checkpoint to checkpoint.

    Raises SettingsError for an explicit K above the number of distinct trajectories.
    """
    clustering = by_trajectory(recorded, settings, CLUSTERS, seed, progress)
    return Plan(
        group_N=clustering.label_N,
        score_N=unsteadiness(recorded.trajectories),
        distance_N=clustering.distance_N,
        facts=told(clustering),
    )


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:  # noqa: ARG001
    """Training dynamics."""
    return of_trajectories(steps)
