"""The shards of a run's rows, scored where they are not there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from s2l.data.rows_file import place_of
from s2l.data.tokens import load_tokens
from s2l.progress import Progress
from s2l.proxy.plan import Plan
from s2l.run_folder import RunFolder
from s2l.scoring.record import record
from s2l.types import Checkpoint, Tokens, Trajectories


def record_shards(
    folder: RunFolder,
    checkpoints: Sequence[Checkpoint],
    plan: Plan,
    progress: Progress,
    *,
    processes: int | None = None,
) -> tuple[Tokens, Trajectories]:
    """The run's tokens, and the sums of every row at every checkpoint."""
    tokens = load_tokens(folder.tokens)
    place = partial(place_of, folder.rows)
    return tokens, record(
        tokens, checkpoints, plan, folder.trajectories, progress, place, stored=folder.tokens, processes=processes
    )
