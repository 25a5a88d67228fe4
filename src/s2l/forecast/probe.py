"""Short measured probes of training and scoring: the stages' own functions on a few rows, in a temporary folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from transformers import PreTrainedTokenizerFast

from s2l.config import ProxySettings, RunSettings
from s2l.data.tokens import save_tokens
from s2l.forecast.sample import drawn
from s2l.forecast.watch import Watch
from s2l.proxy.plan import Plan, global_batches, make_plan
from s2l.proxy.stage import train_proxy
from s2l.scoring.record import devices, record
from s2l.types import Checkpoint, Tokens

SECONDS = 6.0
"""How long a probe measures, at about."""
FIRST_STEPS, LEAST_STEPS, MOST_STEPS = 3, 8, 200
SLOW_STEP = 4.0
"""Seconds of a step from which on the first three alone are measured."""
FEW_ROWS, FEW_SECONDS = 16, 0.5
"""Rows that are scored several times: so many at least, or as many as take so long."""
SHORTEST = 0.02
"""Seconds that scoring the few is taken to need at least."""
FIRST, FEW, THRICE, MANY = "first", "few", "thrice", "many"
"""Folders of the scored rows."""
FASTER = 3.0
"""Scoring over training, in tokens a second; a guess, for the size of the probe alone."""


@dataclass(frozen=True)
class Pace:
    """What a stage takes: seconds once a run, for each checkpoint, and for each token.

    first: those of `once` that only the first call of a process takes (compiling, starting workers).
    """

    once: float
    each: float
    token: float
    first: float = 0.0


@dataclass(frozen=True)
class Trained:
    """A few steps of training: their pace, the plan they followed, the last checkpoint."""

    pace: Pace
    plan: Plan
    checkpoint: Checkpoint


def settled_plan(rows: int, settings: ProxySettings, seed: int) -> Plan:
    """The plan of a training on so many rows; its device, threads and batching are left open."""
    return make_plan(rows, settings, batch_tokens=1, threads=1, device="cpu", seed=seed)


def training(
    tokens: Tokens, tokenizer: PreTrainedTokenizerFast, settings: RunSettings, steps: int, folder: Path
) -> Trained:
    """Train on global batches drawn as a run draws them: three steps to warm up, then as many as SECONDS hold.

    steps: of the run, which the probe does not exceed.
    """
    batch_size = settled_plan(len(tokens), settings.proxy, settings.seed).batch_size

    def call(steps: int, checkpoints: int) -> tuple[Watch, Plan, Checkpoint]:
        epochs = steps / ceil(len(tokens) / batch_size)
        short = {"epochs": epochs, "checkpoints": checkpoints, "initial_checkpoint": False}
        with Watch() as watch:
            plan, saved = train_proxy(
                tokens,
                tokenizer,
                settings.proxy.model_copy(update=short),
                folder / f"{steps}-steps",
                max_length=settings.tokens.max_length,
                seed=settings.seed,
                progress=watch,
            )
        return watch, plan, saved[-1]

    few, plan, checkpoint = call(min(FIRST_STEPS, steps), 1)
    step_seconds = float(np.diff(few.seconds)[-1:].sum())
    many = few
    if step_seconds < SLOW_STEP and steps > FIRST_STEPS:
        fitting = int(SECONDS / max(step_seconds, SECONDS / MOST_STEPS))
        many, plan, checkpoint = call(min(steps, max(LEAST_STEPS, fitting)), 2)
    first_save = sum(int(tokens.lengths[rows].sum()) for rows in global_batches(tokens.ids, plan)[: plan.saves[0]])
    token, each = of_steps(many, first_save)
    warming = max(0.0, few.seconds[-1] - token * sum(few.units))
    ending = max(0.0, many.total - many.seconds[-1] - each)
    return Trained(Pace(warming + ending, each, token), plan, checkpoint)


def of_steps(watch: Watch, first_save: int) -> tuple[float, float]:
    """Seconds a token between reports, and those that saving a checkpoint adds to the gap it falls into.

    first_save: tokens until the first checkpoint. Where it is the last one too, all that follows is the saving.
    """
    gap_G, units_G = np.diff(watch.seconds), np.array(watch.units)[1:]
    saving_G = np.cumsum(watch.units)[:-1] == first_save
    plain_G = ~saving_G & (np.arange(len(gap_G)) > 0)
    plain_G = plain_G if plain_G.any() else ~saving_G
    after = watch.total - watch.seconds[-1]
    if not plain_G.any():
        return watch.seconds[-1] / sum(watch.units), after
    token = float(gap_G[plain_G].sum() / units_G[plain_G].sum())
    saving = float(gap_G[saving_G].sum() - token * units_G[saving_G].sum()) if saving_G.any() else after
    return token, max(0.0, saving)


def scoring(tokens: Tokens, trained: Trained, settings: RunSettings, folder: Path, response_tokens: float) -> Pace:
    """Score a few rows twice, and at three checkpoints; then as many rows as SECONDS hold, at one.

    response_tokens: of the run, at all checkpoints: what it compiles, the probe compiles.
    Where several processes record, each has a checkpoint of its own, and the pace is that of all of them.
    """
    seats = settings.proxy.processes or devices(trained.plan)
    alike = [replace(trained.checkpoint, step=step) for step in range(1, 3 * seats + 1)]

    def call(rows: int, checkpoints: int, name: str) -> tuple[float, int]:
        part = tokens.of(drawn(tokens.ids, rows, settings.seed))
        stored = folder / f"{name}.arrow"
        save_tokens(part, stored)
        place = partial(_name_of, part.ids)
        with Watch() as watch:
            record(
                part,
                alike[: checkpoints * seats],
                trained.plan,
                folder / name,
                watch,
                place,
                stored=stored,
                processes=seats,
                response_tokens=response_tokens,
            )
        return watch.total, int(part.start_N[-1])

    row_seconds = trained.pace.token / FASTER * int(tokens.start_N[-1]) / len(tokens)
    few = max(FEW_ROWS, int(FEW_SECONDS / row_seconds))
    first, _ = call(few, 1, FIRST)
    again, few_tokens = call(few, 1, FEW)
    thrice, _ = call(few, 3, THRICE)
    checkpoint = max(0.0, (thrice - again) / 2)
    once = max(0.0, again - checkpoint)
    many, many_tokens = call(max(2 * few, int(few * SECONDS / max(checkpoint, SHORTEST))), 1, MANY)
    token = (many - again) / (many_tokens - few_tokens) if many_tokens > few_tokens else checkpoint / few_tokens
    token = max(0.0, token)
    each = max(0.0, checkpoint - token * few_tokens)
    return Pace(once, each / seats, token / seats, first=max(0.0, first - again))


def _name_of(ids: Shaped[np.ndarray, " n"], row: int) -> str:
    return f"row {ids[row].decode()}"
