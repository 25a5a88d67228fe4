"""Record trajectories: every missing (checkpoint, shard) is scored and stored, one file each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from s2l.progress import Progress
from s2l.proxy.checkpoints import load_model
from s2l.proxy.plan import Plan
from s2l.scoring.score import Scorer, score
from s2l.trajectories import store
from s2l.types import Checkpoint, Tokens, Trajectories


def record(
    tokens: Tokens,
    checkpoints: Sequence[Checkpoint],
    plan: Plan,
    folder: Path,
    progress: Progress,
    place: Callable[[int], str],
) -> Trajectories:
    """The sums of every row at every checkpoint; shards that are already in `folder` are not scored again.

    `place` names a row of `tokens` for a person, should its loss not be finite.
    """
    scorer = Scorer(plan.batch_tokens, torch.device(plan.device), plan.precision, workers=plan.threads)
    todo = [
        (checkpoint, items)
        for checkpoint in checkpoints
        if (items := [i for i in store.work_items(len(tokens), checkpoint) if not store.is_done(i, folder, tokens.ids)])
    ]
    lengths_N = tokens.lengths
    total = sum(int(lengths_N[item.rows.start : item.rows.stop].sum()) for _, items in todo for item in items)
    with plan.cpu_threads(), progress.stage("record trajectories", total, "tokens") as advance:
        for checkpoint, items in todo:
            model = load_model(checkpoint, scorer.device)
            for item in items:
                rows = np.arange(item.rows.start, item.rows.stop)
                store.write_item(item, folder, tokens, score(model, tokens, rows, scorer, advance, place))
    return store.load(folder, [checkpoint.step for checkpoint in checkpoints])
