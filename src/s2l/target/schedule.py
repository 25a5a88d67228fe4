"""How long to train: what is matched, the plan of the steps, and what they cost."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Int
from transformers import PreTrainedModel

from s2l.errors import SettingsError
from s2l.forecast import flops
from s2l.forecast.flops import Amount
from s2l.proxy.checkpoints import schedule
from s2l.proxy.plan import Plan
from s2l.proxy.workers import workers_for
from s2l.scoring.batching import tokens_at_once
from s2l.target.settings import TrainSettings
from s2l.types import Tokens

BATCH_TOKENS = 2048


def steps_for(rows: int, settings: TrainSettings, pool_rows: int | None) -> int:
    """Optimizer steps: `settings.epochs` over these rows, or as many as that makes over the whole pool.

    Raises SettingsError where the pool's rows are asked for and not known.
    """
    counted = rows
    if settings.match == "steps":
        known = settings.pool_rows or pool_rows
        if known is None:
            raise SettingsError("--match steps: without a run say how many rows the whole pool has: --pool-rows N")
        counted = known
    batch_size = min(int(settings.settled("batch_size")), counted)
    return max(1, round(settings.epochs * math.ceil(counted / batch_size)))


def plan_for(
    rows: int, pool_rows: int | None, model: PreTrainedModel, settings: TrainSettings, device: str, ranks: int
) -> Plan:
    """The plan of the training, every default settled; `saves` are the steps after which a stop loses nothing."""
    steps = steps_for(rows, settings, pool_rows)
    batch_size = min(int(settings.settled("batch_size")), rows)
    vocabulary = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[index]
    threads = settings.threads or torch.get_num_threads()
    return Plan(
        steps=steps,
        saves=schedule(steps, settings.resume_points)[:-1],
        batch_size=batch_size,
        epochs=steps / math.ceil(rows / batch_size),
        learning_rate=settings.settled("learning_rate"),
        weight_decay=settings.weight_decay,
        warmup_steps=math.ceil(settings.warmup * steps),
        batch_tokens=tokens_at_once(settings.batch_tokens or BATCH_TOKENS, settings.max_length, vocabulary),
        threads=threads,
        device=device,
        precision=settings.precision or ("bfloat16" if device == "cuda" else "float32"),
        seed=settings.seed,
        workers=workers_for(model, threads, batch_size) if device == "cpu" else 1,
        ranks=ranks,
    )


def amount_seen(tokens: Tokens, batches: list[Int[np.ndarray, " _"]]) -> Amount:
    """All that a model reads in these batches, a row as often as it is in one."""
    times_N = np.bincount(np.concatenate(batches), minlength=len(tokens)).astype(np.float64)
    lengths_N = tokens.lengths.astype(np.float64)
    return Amount(
        rows=float(times_N.sum()),
        tokens=float(times_N @ lengths_N),
        response_tokens=float(times_N @ tokens.response_lengths),
        pairs=float(times_N @ (lengths_N * (lengths_N + 1))) / 2,
    )


def flops_of(model: PreTrainedModel, seen: Amount, lora: bool) -> float:
    """Floating-point operations of the training that are needed; with adapters no weight's gradient is."""
    shape = flops.shape_of(model)
    return 2 * flops.forward(shape, seen) if lora else flops.training(shape, seen)
