"""Facility location: the rows that together are most like all rows (Bhatt et al. 2024, arXiv 2401.06692).

Σ_i max_{j chosen} (1 + cos_ij) / 2, of mean last hidden states over response tokens. The greedy choice, exact here, is
within 1 − 1/e of the best (Nemhauser et al. 1978).
"""

from __future__ import annotations

from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost, of_one_checkpoint
from s2l.selection.greedy import facility_location
from s2l.selection.scores import AT_ONE, At, asked_of, column, places, ranked
from s2l.selection.unit import UNITS, directions
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """Whose states."""

    at: At = Field("late", description=AT_ONE)


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """The greedy order first, for as many rows as are asked for."""
    at = column(settings.at, recorded.trajectories.steps)
    units_ND = directions(asked_of(recorded).embeddings("response", at))
    with progress.stage("facility location", recorded.wanted, "rows") as advance:
        order_N, gains = facility_location(units_ND, recorded.wanted, advance)
    return ranked(places(order_N), mean_similarity=float(gains.sum()) / (2 * UNITS**2 * len(recorded)))


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """One pass for the embeddings of one checkpoint."""
    return of_one_checkpoint(settings.at, steps, more=1)
