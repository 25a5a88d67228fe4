"""Length: the longest rows, or the shortest; a baseline that is hard to beat (Zhao et al. 2024, arXiv 2402.04833)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost
from s2l.selection.scores import ranked
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """Which end, and of what."""

    first: Literal["long", "short"] = Field("long", description="Which rows come first.")
    of: Literal["response", "row"] = Field("response", description="Whose tokens count, after truncation.")


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """By the number of proxy tokens."""
    tokens_N = recorded.trajectories.tokens_N if settings.of == "response" else recorded.lengths_N
    return ranked(tokens_N * (1.0 if settings.first == "short" else -1.0))


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:  # noqa: ARG001
    """Nothing is scored."""
    return Cost()
