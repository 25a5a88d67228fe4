"""How a run scores: found once, at its first checkpoint, kept beside the trajectories, and the same for all of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.errors import MachineError
from s2l.files import PART, read_record, write_json
from s2l.progress import Progress
from s2l.proxy.checkpoints import load_model
from s2l.proxy.memory import free_memory, is_out_of_memory
from s2l.proxy.plan import Plan
from s2l.scoring.batching import collate, group_by_length
from s2l.scoring.forward import HeadPath, choose_path
from s2l.scoring.score import Scorer, score
from s2l.threads import THREADS
from s2l.types import STATISTICS, Checkpoint, Tokens

SCORER = "scorer.json"
TIMES_TRAINING = {"cpu": 2}
TIMES_TRAINING_GPU = 4
"""Tokens of a forward pass, of those that a training step holds with all its activations."""
LEAST_LOGITS = 2**34
"""Compiling takes seconds; for fewer logits it takes longer than it saves."""
MOST_PADDING = 8
SAME, SAME_ROUNDED = 1e-3, 5e-2
"""Mean losses of a row by two paths differ by less (nats), by float32 weights (their noise is a hundred times smaller)
and by weights in 16 bits."""


def find_scorer(
    checkpoint: Checkpoint, tokens: Tokens, plan: Plan, response_tokens: float, folder: Path, progress: Progress
) -> Scorer:
    """The scorer kept in `folder`, or one that fits this checkpoint's model and the plan's device.

    response_tokens: how many will be scored, at all checkpoints. What departs from the usual way is told.
    """
    if (folder / SCORER).is_file():
        return kept_scorer(plan, folder)
    model = load_model(checkpoint, torch.device(plan.device))
    return scorer_for(model, tokens, plan, response_tokens, folder, progress)


def scorer_for(
    model: PreTrainedModel, tokens: Tokens, plan: Plan, response_tokens: float, folder: Path, progress: Progress
) -> Scorer:
    """A scorer that fits this model and the plan's device, kept in `folder`."""
    scorer = kept_scorer(plan, folder)
    device = scorer.device
    scorer = replace(scorer, path=checked_path(model, tokens, device))
    if scorer.path == "trunk":
        more = TIMES_TRAINING.get(device.type, TIMES_TRAINING_GPU)
        scorer = replace(scorer, batch_tokens=more * scorer.batch_tokens)
    else:
        how = "row by row, " if scorer.path == "alone" else ""
        progress.note(f"scoring takes the model's own logits, {how}slower: its head does more than multiply")
    if device.type != "cpu":
        scorer = _that_fits(model, tokens, scorer)
    if response_tokens * model.config.get_text_config().vocab_size >= LEAST_LOGITS:
        scorer = replace(scorer, compiled=True)
        if not scorer.can_compile():
            scorer = replace(scorer, compiled=False)
            missing = "C++ compiler" if device.type == "cpu" else "Triton"
            progress.note(f"no {missing} here: the pass over the logits is not compiled, scoring is a little slower")
    keep_scorer(scorer, folder)
    return scorer


def kept_scorer(plan: Plan, folder: Path) -> Scorer:
    """The scorer kept in `folder`; where none is, what a search for one begins with: the plan's, its path left open."""
    # A launcher gives each of its processes fewer threads; this one is alone now, and sums do not hang on workers.
    workers = max(plan.threads, min(THREADS, plan.threads * plan.ranks))
    scorer = Scorer(plan.batch_tokens, torch.device(plan.device), plan.precision, workers)
    path = folder / SCORER
    if not path.is_file():
        return scorer
    kept = read_record(path)
    return replace(scorer, **{name: kept[name] for name in ("batch_tokens", "path", "compiled")})


def keep_scorer(scorer: Scorer, folder: Path) -> None:
    """Record what was found, for the rest of the run; never more tokens in one pass than were recorded before."""
    path = folder / SCORER
    fewest = min(scorer.batch_tokens, read_record(path)["batch_tokens"]) if path.is_file() else scorer.batch_tokens
    found = {"batch_tokens": fewest, "path": scorer.path, "compiled": scorer.compiled}
    own = folder / f"{SCORER}-{os.getpid()}{PART}"  # other processes may be at the same
    write_json(own, found)
    own.replace(path)


def halved(scorer: Scorer) -> Scorer:
    """The scorer with half the tokens in one pass; MachineError where that is no row any more."""
    if scorer.batch_tokens <= 1:
        raise MachineError("the device has no memory for one row; use a smaller proxy, or --max-length, and --out")
    return replace(scorer, batch_tokens=scorer.batch_tokens // 2)


def checked_path(model: PreTrainedModel, tokens: Tokens, device: torch.device) -> HeadPath:
    """The fastest path that gives three rows of different lengths the losses that each has alone, by the model itself.

    Hybrids and heads that scale or cap their logits may need a slower one.
    """
    by_length = np.argsort(tokens.lengths[:4096], kind="stable")
    rows = np.unique(by_length[[0, len(by_length) // 2, -1]])
    alone_n = _losses(model, tokens, rows, device, "alone")
    structural = choose_path(model, collate(tokens, rows[-1:]).to(device))
    same = SAME if model.dtype == torch.float32 else SAME_ROUNDED
    for path in dict.fromkeys((structural, "whole")):
        if np.abs(_losses(model, tokens, rows, device, path) - alone_n).max() < same:
            return path
    return "alone"


def _losses(
    model: PreTrainedModel, tokens: Tokens, rows: Int[np.ndarray, " n"], device: torch.device, path: HeadPath
) -> Float[np.ndarray, " n"]:
    longest = int(tokens.lengths[rows].max())
    scorer = Scorer(len(rows) * (longest + MOST_PADDING), device, "float32", path=path)
    losses_n: Float[np.ndarray, " n"] = (
        score(model, tokens, rows, scorer)[STATISTICS.index("nll")] / tokens.response_lengths[rows]
    )
    return losses_n


def _that_fits(model: PreTrainedModel, tokens: Tokens, scorer: Scorer) -> Scorer:
    """The scorer, its batch halved until the longest rows fit."""
    longest = np.argsort(-tokens.lengths, kind="stable")
    while True:
        batch = next(group_by_length(tokens.lengths[longest], scorer.batch_tokens))
        try:
            score(model, tokens, np.sort(longest[batch]), scorer)
            return scorer
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        scorer = halved(scorer)
        free_memory()
