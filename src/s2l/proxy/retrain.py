"""The proxy trained again on some of the rows alone, from the weights that its run began with, as its run did it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerFast

from s2l.config import ProxySettings
from s2l.errors import SettingsError
from s2l.files import read_record, write_json
from s2l.progress import Progress
from s2l.proxy import checkpoints
from s2l.proxy.plan import PLAN, Plan
from s2l.proxy.stage import START, beginning, train_proxy
from s2l.types import LEFT, Checkpoint, Tokens


def trained_on(
    rows: Int[np.ndarray, " m"],
    tokens: Tokens,
    tokenizer: PreTrainedTokenizerFast,
    settings: ProxySettings,
    run: Path,
    folder: Path,
    *,
    max_length: int,
    seed: int,
    progress: Progress,
    place: Callable[[int], str],
) -> Checkpoint:
    """The proxy after learning these rows of `tokens`, in `folder`; without rows the weights that training begins with.

    settings, max_length and seed made the training in the folder `run`. What is in `folder` already is not trained
    again. Raises RunFolderError where the model that `run` began with is no longer there.
    """
    if not (folder / START).is_file():
        write_json(folder / START, read_record(run / START))
    if any(LEFT in read_record(path) for path in sorted(run.glob(f"step-*/{checkpoints.RECORD}"))[:1]):
        raise SettingsError(
            "the method trains the proxy in rounds; these checkpoints come from another training: use s2l run"
        )
    settings = _as_planned(settings, Plan.from_json(read_record(run / PLAN)))
    if not len(rows):
        begun = checkpoints.find(folder, 0)
        return begun or checkpoints.save(beginning(settings, tokenizer, folder, max_length, seed), folder, 0)
    ascending = np.sort(rows)
    _, (trained,) = train_proxy(
        tokens.of(ascending),
        tokenizer,
        settings,
        folder,
        max_length=max_length,
        seed=seed,
        progress=progress,
        place=lambda row: place(int(ascending[row])),
    )
    return trained


def _as_planned(settings: ProxySettings, plan: Plan) -> ProxySettings:
    """The settings, what the run's plan settled filled in, with one checkpoint, at the end."""
    settled = ("epochs", "learning_rate", "batch_size", "weight_decay", "device", "threads")
    return settings.model_copy(
        update={
            **{name: getattr(plan, name) for name in settled},
            "batch_tokens": plan.batch_tokens_at(plan.steps),
            "checkpoints": 1,
            "initial_checkpoint": False,
        }
    )
