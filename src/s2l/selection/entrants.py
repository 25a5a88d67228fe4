"""Methods that enter a comparison: which, with which settings, what each chooses, and what keeps others from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from s2l import config
from s2l.errors import S2LError, SettingsError, shown
from s2l.progress import Advance, Progress
from s2l.selection import agreement
from s2l.selection.budget import Budget
from s2l.selection.draw import rows_for
from s2l.selection.methods import Method, get, methods
from s2l.selection.select import RANDOM, line_up
from s2l.types import Recorded, Representations

FULL = "full"


@dataclass(frozen=True)
class Entrant:
    """A method to compare. named: asked for by name, so that whatever keeps it from choosing is an error."""

    method: Method
    settings: config.Settings
    named: bool


@dataclass(frozen=True)
class Choice:
    """What a method chose, how it ranks all rows (`agreement.ranking`), and the seconds that it took to choose."""

    entrant: Entrant
    kept_N: Bool[np.ndarray, " N"]
    ranking_N: Float[np.ndarray, " N"] | None
    seconds: float

    @property
    def name(self) -> str:
        """Of the method."""
        return self.entrant.method.name


@dataclass(frozen=True)
class LeftOut:
    """A method that does not choose: why, and the forward passes that its scores would take beyond the run's own."""

    method: str
    reason: str
    passes: float | None


@dataclass(frozen=True)
class WithoutNotes:
    """Progress of a method that may yet be left out: what it says of its work is not for a person."""

    of: Progress

    def stage(self, name: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        """Enter the stage."""
        return self.of.stage(name, total, unit)

    def note(self, line: str) -> None:
        """Say nothing."""


def entrants(names: Sequence[str] | None, options: Mapping[str, Mapping[str, Any]]) -> list[Entrant]:
    """The methods named, each once, or all but `full`; options: settings by method.

    Raises SettingsError for a method or an option that is not there, and for options of a method that is not compared.
    """
    wanted = dict.fromkeys([name for name in methods() if name != FULL] if names is None else names)
    for name in options:
        if get(name).name not in wanted:
            raise SettingsError(f"{shown(name)} has settings but is not compared: name it among the methods")
    return [
        Entrant(get(name), get(name).parse(options.get(name, {})), named=names is not None or name in options)
        for name in wanted
    ]


def choose(recorded: Recorded, entrant: Entrant, budget: Budget, read: int, seed: int, progress: Progress) -> Choice:
    """The rows that the method keeps; read: rows of the pool, which shares are of."""
    start = monotonic()
    way = line_up(recorded, entrant.method, entrant.settings, seed, progress)
    kept_N = way.queues.take(rows_for(budget, way.queues, recorded, read=read))
    seconds = monotonic() - start
    ranking_N = None if entrant.method.name == RANDOM else agreement.ranking(way.plan)
    return Choice(entrant, kept_N, ranking_N, seconds)


def choices(
    recorded: Recorded,
    there: Representations,
    entered: Sequence[Entrant],
    budget: Budget,
    read: int,
    seed: int,
    progress: Progress,
) -> tuple[list[Choice], list[LeftOut]]:
    """What each method chooses; those not asked for by name may only look at what is `there`, and else are left out.

    Raises SettingsError where a method asked for by name cannot choose on this run.
    """
    chosen, left_out = [], []
    for entrant in entered:
        name, passes = entrant.method.name, None
        try:
            passes = entrant.method.cost(entrant.settings, recorded.trajectories.steps).more
            seen = recorded if entrant.named else replace(recorded, more=there)
            told = progress if entrant.named or not passes else WithoutNotes(progress)
            chosen.append(choose(seen, entrant, budget, read, seed, told))
        except S2LError as error:
            if entrant.named:
                raise type(error)(f"{name}: {error}") from None
            left_out.append(LeftOut(name, str(error), passes))
    return chosen, left_out
