"""IFD: how little the prompt helps to predict the response, PPL(y|x) / PPL(y) (Li et al. 2024, arXiv 2402.00530).

Both perplexities are over all response tokens: the response alone is read behind the beginning (or end) token. The
highest below 1 come first; rows whose prompt does not help at all, 1 and more, come last. The first paper (2308.12032)
divides the mean losses instead, by a model briefly trained: the same rows are below 1, in another order.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from s2l import config
from s2l.progress import Progress
from s2l.selection.cost import Cost, of_one_checkpoint
from s2l.selection.scores import AT_ONE, At, asked_of, column
from s2l.types import Plan, Recorded


class Settings(config.Settings):
    """Whose perplexities."""

    at: At = Field("early", description=AT_ONE)


def plan(recorded: Recorded, settings: Settings, seed: int, progress: Progress) -> Plan:  # noqa: ARG001
    """The highest ratio below 1 first; of those turned away the lowest."""
    at = column(settings.at, recorded.trajectories.steps)
    log_ratio_N = recorded.trajectories.losses_NT[:, at] - asked_of(recorded).losses_alone(at)
    useless_N = log_ratio_N >= 0
    return Plan(
        group_N=np.zeros(len(recorded), dtype=np.int64),
        score_N=np.abs(log_ratio_N),
        distance_N=np.full(len(recorded), np.nan),
        last_N=useless_N,
        facts={"prompt_does_not_help": int(useless_N.sum()), "median_ifd": float(np.exp(np.median(log_ratio_N)))},
    )


def cost(settings: Settings, steps: tuple[int, ...]) -> Cost:
    """The losses, and a pass over the responses alone."""
    return of_one_checkpoint(settings.at, steps, recorded=True, more=1)
