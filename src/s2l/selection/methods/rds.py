"""RDS+: the rows most like a handful of examples of the target task, which take turns (arXiv 2503.01807).

Ivison et al. 2025: an embedding is the mean of a row's last hidden states, the p-th with weight p, over prompt and
response; each example in turn takes the row of the largest cosine that none has taken. Turns go by the examples' ids.
"""

from __future__ import annotations

from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from s2l import config
from s2l.errors import SettingsError, shown
from s2l.progress import Advance, Progress
from s2l.selection.cost import Cost, of_one_checkpoint
from s2l.selection.room import require_room
from s2l.selection.scores import AT_ONE, At, asked_of, column, places, ranked
from s2l.selection.unit import directions
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """What is wanted, and whose states."""

    examples: str | None = Field(
        None, description="File of a handful of rows of the target task, of any shape that a pool has; needed."
    )
    at: At = Field("late", description=AT_ONE)

    def require(self) -> None:
        """Without examples there is nothing to be like; they must be readable."""
        self.digest()

    def digest(self) -> str:
        """Of the examples' file."""
        if self.examples is None:
            raise SettingsError("method rds needs examples of the target task: --set examples=FILE")
        try:
            with Path(self.examples).open("rb") as file:
                return file_digest(file, partial(blake2b, digest_size=16)).hexdigest()
        except OSError as error:
            raise SettingsError(f"method rds: examples={shown(self.examples)}: {error.strerror}") from None


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """The examples' choice by turns, for as many rows as are asked for; the others by their largest cosine.

    Raises SettingsError without a file of examples, MachineError where there are too many for the memory.
    """
    digest = settings.digest()
    assert settings.examples is not None, "what has a digest is there"
    more, at = asked_of(recorded), column(settings.at, recorded.trajectories.steps)
    examples_MD = directions(more.example_embeddings(settings.examples, "position", at))
    units_ND = directions(more.embeddings("position", at))
    with progress.stage("rds", recorded.wanted, "rows") as advance:
        order_N = by_turns(units_ND, examples_MD, recorded.wanted, advance)
    return ranked(places(order_N), examples=len(examples_MD), examples_blake2b=digest)


def by_turns(
    units_ND: Float[np.ndarray, "N D"], examples_MD: Float[np.ndarray, "M D"], n_rows: int, advance: Advance
) -> Int[np.ndarray, " N"]:
    """All rows, the first `n_rows` by turns: an example takes the row most like it that none has; ties to the smaller.

    The others follow by their largest product with an example. M N D products. Raises MachineError without room for 4
    bytes for each example and row to take, and 48 for each row.
    """
    size, takers = len(units_ND), len(examples_MD)
    require_room(f"{takers:,} examples' choice", size, lambda rows: 4 * takers * min(rows, n_rows) + 48 * rows)
    largest_N = np.full(size, -np.inf, dtype=np.float32)
    waiting_Mn = np.empty((takers, n_rows), dtype=np.int32)
    for waiting_n, example_D in zip(waiting_Mn, examples_MD, strict=True):
        similar_N = units_ND @ example_D
        np.maximum(largest_N, similar_N, out=largest_N)
        waiting_n[:] = np.argsort(-similar_N, kind="stable")[:n_rows]
    queues = [iter(waiting_n) for waiting_n in waiting_Mn]
    order_n, taken = np.empty(n_rows, dtype=np.int64), bytearray(size)
    for place in range(n_rows):
        row = next(row for row in queues[place % takers] if not taken[row])
        order_n[place], taken[row] = row, True
        advance(1)
    others = np.flatnonzero(np.frombuffer(taken, dtype=np.uint8) == 0)
    return np.concatenate([order_n, others[np.argsort(-largest_N[others], kind="stable")]])


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """One pass for the embeddings."""
    return of_one_checkpoint(settings.at, steps, more=1)
