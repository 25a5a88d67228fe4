"""The shards of a run's rows, scored where they are not there: those of the pool, and of each addition apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from s2l.data.rows_file import load_rows, place_of
from s2l.data.tokens import load_tokens, save_tokens
from s2l.files import PART, remove
from s2l.progress import Progress
from s2l.proxy.plan import Plan
from s2l.run_folder import RunFolder
from s2l.scoring.record import score_missing
from s2l.trajectories import store
from s2l.types import Checkpoint, Tokens, Trajectories

SCRATCH = f"addition.arrow{PART}"
"""Removed with all half-written files when the run is next opened, should this process be killed."""


@dataclass(frozen=True)
class Place:
    """Names a row of an addition for a person; may be sent to another process."""

    rows: Path
    members: Int[np.ndarray, " n"]

    def __call__(self, row: int) -> str:
        """`file:line`."""
        return place_of(self.rows, int(self.members[row]))


def record_shards(
    folder: RunFolder,
    checkpoints: Sequence[Checkpoint],
    plan: Plan,
    progress: Progress,
    *,
    processes: int | None = None,
) -> tuple[Tokens, Trajectories]:
    """The run's tokens, and the sums of every row at every checkpoint; what is there is not scored again.

    Shards are ranges of ids within an addition, so that rows which come later move none.
    """
    tokens = load_tokens(folder.tokens)
    rows, _ = load_rows(folder.rows)
    place_P, scorable_P = rows.stand_in(tokens.ids)
    addition_N = np.zeros(len(tokens), dtype=np.int64)
    addition_N[place_P[scorable_P]] = rows.addition_N[scorable_P]
    for addition in np.unique(addition_N).tolist():
        members = np.flatnonzero(addition_N == addition)
        with stored_apart(tokens, members, folder) as (own, path):
            score_missing(
                own,
                checkpoints,
                plan,
                folder.trajectories,
                progress,
                Place(folder.rows, members),
                stored=path,
                processes=processes,
                addition=addition,
            )
    return tokens, store.load(folder.trajectories, [checkpoint.step for checkpoint in checkpoints])


@contextmanager
def stored_apart(tokens: Tokens, members: Int[np.ndarray, " n"], folder: RunFolder) -> Iterator[tuple[Tokens, Path]]:
    """These rows' tokens and, while the block runs, a file of them."""
    if len(members) == len(tokens):
        yield tokens, folder.tokens
        return
    path = folder.path / SCRATCH
    try:
        save_tokens(tokens.of(members), path)
        yield load_tokens(path), path
    finally:
        remove(path)
