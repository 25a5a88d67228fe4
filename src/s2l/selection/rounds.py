"""Methods that train the proxy in rounds: the rows of each, what all of them cost, and what a person is told of it."""

from __future__ import annotations

from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost
from s2l.types import Recorded


class RoundSettings(config.Settings):
    """What every method says that trains in rounds."""

    rounds: int = Field(3, ge=1, description="Rounds, of as many rows each; all but the first train the proxy anew.")


def rows_after(recorded: Recorded, rounds: int) -> list[int]:
    """Rows chosen at the end of each round: equal shares of the most that are asked for; no round is without a row."""
    rounds = min(rounds, recorded.wanted)
    return [recorded.wanted * done // rounds for done in range(1, rounds + 1)]


def announce(method: str, recorded: Recorded, stops: list[int], readings: int, progress: Progress) -> None:
    """Say what the method's rounds, which end at `stops`, take by the run's own measures."""
    share = sum(stops[:-1]) / len(recorded)
    progress.note(
        f"{method}, {len(stops)} rounds: as much as {share:.1%} of the run's training and {readings} of its "
        f"{len(recorded.trajectories.steps)} recordings, less what is kept from before"
    )


def of_rounds(rounds: int, readings: int) -> Cost:
    """Trainings on 1/R, 2/R, … of the budget, and passes over the pool; at most: the budget is taken as all rows."""
    return Cost(trained=(rounds - 1) / 2, more=readings, in_rounds=True)
