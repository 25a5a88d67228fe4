"""A larger model to measure on: its files, its tokenizer, the pool in its tokens, its checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.config import BUILTIN, RunSettings
from s2l.data.tokens import tokenize
from s2l.errors import DataError, S2LError, SettingsError, printable, shown
from s2l.files import read_json
from s2l.pipeline import check_pool, read_from
from s2l.progress import Advance, Progress
from s2l.proxy import load
from s2l.proxy.stage import START
from s2l.scoring.score import Scorer, score
from s2l.scoring.setup import checked_path
from s2l.types import STATISTICS, Pool, Tokens

STEP = re.compile(r"(\d+)$")
IN_MEMORY = "memory"


@dataclass(frozen=True)
class Target:
    """A model on disk, and the pool in its tokens. vocabulary: of its tokenizer. max_length: tokens of a row."""

    name: str
    folder: Path
    tokens: Tokens
    vocabulary: int
    max_length: int

    def load(self, device: torch.device, folder: Path | None = None) -> PreTrainedModel:
        """The model, or that in another folder which reads the same tokens; float32, on the device."""
        model = load.load_pretrained(folder or self.folder, self.vocabulary, self.max_length)
        torch.nn.Module.to(model, device)
        return model


def read_again(settings: RunSettings, claimed: Mapping[str, Any], progress: Progress) -> Pool:
    """The run's pool, for another tokenizer; DataError where it is gone or has changed."""
    if claimed["pool"]["container"] == IN_MEMORY:
        raise DataError("the run's pool was in memory; make the run from a file to measure on another model")
    check_pool(settings.pool, claimed, None)
    return read_from(settings.pool, None, progress)


def find_target(
    name: str, folder: Path, pool: Pool, settings: RunSettings, own_tokenizer: Path, progress: Progress
) -> Target:
    """The model in `folder`, which must read the pool: by its own tokenizer, in the words of its own template.

    Its tokenizer is in the folder, in the one above, or where a run has it; SettingsError for one that will not do.
    """
    places = (folder, folder.parent, folder.parent.parent / "tokenizer")
    place = next((place for place in places if (place / "tokenizer.json").is_file()), folder)
    tokenizer = load.load_tokenizer(place)
    if pool.format == "tokenized" and tokenizer.get_vocab() != load.load_tokenizer(own_tokenizer).get_vocab():
        raise SettingsError(f"{shown(name)}: the rows are token ids, and not of this model's tokenizer")
    progress.note(f"{printable(name)}: the pool in its tokens")
    tokens = tokenize(pool, tokenizer, settings.tokens, builtin=_is_builtin(folder), progress=progress)
    return Target(name, folder, tokens, len(tokenizer), settings.tokens.max_length)


def resolved(name: str) -> Path:
    """The local folder of a model, as `proxy.load.resolve` finds it."""
    try:
        return load.resolve(name, None)
    except S2LError as error:
        raise type(error)(f"--model {str(error).replace(load.WAYS_OUT, 'give the path of a local folder')}") from None


def checkpoints_in(directory: Path) -> list[tuple[int, Path]]:
    """(step, folder) of the checkpoints in `directory`, in order of step; SettingsError where there is none."""
    folders = sorted(directory.iterdir()) if directory.is_dir() else []
    found = sorted(
        (int(step[1]), folder)
        for folder in folders
        if (step := STEP.search(folder.name)) and any(folder.glob("*.safetensors"))
    )
    if not found or found[-1][0] == 0:
        raise SettingsError(
            f"--target-checkpoints {printable(str(directory))}: no trained checkpoint in it; each is a folder whose "
            "name ends in its step (checkpoint-500) and which holds *.safetensors"
        )
    return found


def losses(
    model: PreTrainedModel, tokens: Tokens, rows: Int[np.ndarray, " n"], batch_tokens: int, advance: Advance
) -> Float[np.ndarray, " n"]:
    """Loss of each row, nats per response token, float32 products."""
    path = checked_path(model, tokens, model.device)
    scorer = Scorer(batch_tokens, model.device, "float32", torch.get_num_threads(), path)
    sums_Sn = score(model, tokens, rows, scorer, advance)
    losses_n: Float[np.ndarray, " n"] = sums_Sn[STATISTICS.index("nll")] / tokens.response_lengths[rows]
    return losses_n


def _is_builtin(folder: Path) -> bool:
    """Whether a run trained it from scratch, on the short template."""
    try:
        return bool(read_json(folder.parent / START)["model"] == BUILTIN)
    except (OSError, ValueError, KeyError, TypeError):
        return False
