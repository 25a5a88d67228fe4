"""Record trajectories: every missing (checkpoint, shard) is scored and stored, one file each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.data.tokens import load_tokens
from s2l.engines import local
from s2l.progress import Advance, Progress
from s2l.proxy.checkpoints import load_model
from s2l.proxy.memory import free_memory, is_out_of_memory
from s2l.proxy.plan import Plan
from s2l.scoring.precision import lower_
from s2l.scoring.score import Scorer, score
from s2l.scoring.setup import find_scorer, halved, keep_scorer
from s2l.threads import on_all_cores
from s2l.trajectories import store
from s2l.trajectories.store import WorkItem
from s2l.types import Checkpoint, Tokens, Trajectories


def record(
    tokens: Tokens,
    checkpoints: Sequence[Checkpoint],
    plan: Plan,
    folder: Path,
    progress: Progress,
    place: Callable[[int], str],
    *,
    stored: Path | None = None,
    processes: int | None = None,
    response_tokens: float | None = None,
) -> Trajectories:
    """The sums of every row at every checkpoint, as `score_missing` records them."""
    score_missing(
        tokens,
        checkpoints,
        plan,
        folder,
        progress,
        place,
        stored=stored,
        processes=processes,
        response_tokens=response_tokens,
    )
    return store.load(folder, [checkpoint.step for checkpoint in checkpoints])


def score_missing(
    tokens: Tokens,
    checkpoints: Sequence[Checkpoint],
    plan: Plan,
    folder: Path,
    progress: Progress,
    place: Callable[[int], str],
    *,
    stored: Path | None = None,
    processes: int | None = None,
    response_tokens: float | None = None,
    addition: int = 0,
) -> None:
    """Record the sums of every row at every checkpoint; shards that are already in `folder` are not scored again.

    `place` names a row of `tokens` for a person, should its loss not be finite; several processes must pickle it.
    stored: the file of `tokens`. Only with it is the work shared by `processes`, by default one for each GPU: on a CPU
    the sums are the same to the last bit. What is not stored is scored here.
    response_tokens: those of the run at all checkpoints, where these rows are a probe of it.
    addition: `Rows.addition_N` of these rows.
    """
    items = [item for checkpoint in checkpoints for item in store.work_items(len(tokens), checkpoint, addition)]
    done = on_all_cores(lambda item: store.is_done(item, folder, tokens.ids), items)
    todo = [item for item, is_done in zip(items, done, strict=True) if not is_done]
    total = sum(int(tokens.start_N[item.rows.stop] - tokens.start_N[item.rows.start]) for item in todo)
    seats = min(processes or devices(plan), len(todo)) if stored else 1
    if todo:
        free_memory()  # of what training left
        if response_tokens is None:
            response_tokens = len(checkpoints) * float(tokens.response_lengths.sum())
        scorer = find_scorer(todo[0].checkpoint, tokens, plan, response_tokens, folder, progress)
        with progress.stage("record trajectories", total, "tokens") as advance:
            if stored is not None and seats > 1:
                free_memory()  # in this process's cache, theirs to use
                finished = local.run(Recording(stored, folder, scorer, place), todo, seats, advance)
            else:
                finished = record_items(iter(todo), tokens, scorer, folder, place, advance)
            for _ in finished:
                pass


@dataclass(frozen=True)
class Recording:
    """The job of several processes: where the tokens are, how to score them, where the sums go."""

    tokens: Path
    folder: Path
    scorer: Scorer
    place: Callable[[int], str]

    def work(self, seat: int, seats: int, items: Iterator[WorkItem], advance: Advance) -> Iterator[WorkItem]:
        """Record the items on the seat's own device, or its part of the CPU's threads."""
        scorer = replace(self.scorer, workers=max(1, self.scorer.workers // seats))
        if scorer.device.type == "cuda":
            scorer = replace(scorer, device=torch.device("cuda", seat % torch.cuda.device_count()))
            torch.cuda.set_device(scorer.device)
        yield from record_items(items, load_tokens(self.tokens), scorer, self.folder, self.place, advance)


def record_items(
    items: Iterator[WorkItem],
    tokens: Tokens,
    scorer: Scorer,
    folder: Path,
    place: Callable[[int], str],
    advance: Advance,
) -> Iterator[WorkItem]:
    """Score and store the items in order, one being written while the next is scored; yields each once it is stored."""
    writing: Future[WorkItem] | None = None

    def write(item: WorkItem, sums_Sn: Float[np.ndarray, "S n"]) -> WorkItem:
        store.write_item(item, folder, tokens, sums_Sn)
        return item

    with ThreadPoolExecutor(1, "writer") as writer:
        for checkpoint, group in groupby(items, key=lambda item: item.checkpoint):
            model = load_model(checkpoint, scorer.device)
            if scorer.precision == "bfloat16":
                lower_(model)
            for item in group:
                rows = np.arange(item.rows.start, item.rows.stop)
                sums_Sn, scorer = score_within_memory(model, tokens, rows, scorer, folder, advance, place)
                if writing is not None:
                    yield writing.result()
                writing = writer.submit(write, item, sums_Sn)
            del model  # two need not fit into memory
        if writing is not None:
            yield writing.result()


def score_within_memory(
    model: PreTrainedModel,
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    scorer: Scorer,
    folder: Path,
    advance: Advance,
    place: Callable[[int], str],
) -> tuple[Float[np.ndarray, "S n"], Scorer]:
    """`score`, from the start with half the batch wherever memory runs out; and the scorer that was small enough."""
    while True:
        done: list[int] = []

        def counted(units: int, done: list[int] = done) -> None:
            done.append(units)
            advance(units)

        try:
            return score(model, tokens, rows, scorer, counted, place), scorer
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        advance(-sum(done))
        scorer = halved(scorer)
        keep_scorer(scorer, folder)
        free_memory()


def devices(plan: Plan) -> int:
    """How many processes record if none is asked for: one for each GPU, and one on a CPU."""
    return torch.cuda.device_count() if plan.device == "cuda" else 1
