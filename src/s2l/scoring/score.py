"""One checkpoint × many rows → sums per row over response tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.errors import NumericsError
from s2l.progress import Advance
from s2l.scoring.batching import Batch, collate, group_by_length
from s2l.scoring.forward import HeadPath, choose_path, chunk_for, response_logits
from s2l.scoring.head import statistics
from s2l.types import STATISTICS, Tokens


@dataclass(frozen=True)
class Scorer:
    """How to score: tokens of one forward pass, where, in which precision of matrix products, batches at a time.

    On a CPU each of the `workers` computes its batch alone: small models leave threads that share one batch idle, and
    the sums do not depend on how many workers there are.
    """

    batch_tokens: int
    device: torch.device
    precision: str
    workers: int = 1

    def autocast(self) -> torch.autocast:
        """The context in which the model runs."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")


def score(
    model: PreTrainedModel,
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    scorer: Scorer,
    advance: Advance = lambda _tokens: None,
    place: Callable[[int], str] | None = None,
) -> Float[np.ndarray, "S n"]:
    """Sums of `types.STATISTICS` over the response tokens of each row, float32 from float64 sums.

    A row's sums do not depend on its neighbours or the batch size beyond floating-point noise. `advance` is told the
    tokens of each batch. A sum that is not finite raises NumericsError naming the row by `place`.
    """
    model.eval()
    sums_Sn = np.empty((len(STATISTICS), len(rows)), dtype=np.float32)
    lengths_n = tokens.start_N[rows + 1] - tokens.start_N[rows]
    batches = list(group_by_length(lengths_n, scorer.batch_tokens))
    path = choose_path(model, collate(tokens, rows[batches[0]]).to(scorer.device))

    def sums_of(members: Int[np.ndarray, " B"]) -> Float[np.ndarray, "S B"]:
        return _batch_sums(model, collate(tokens, rows[members]).to(scorer.device), path, scorer)

    for members, sums_SB in zip(batches, _mapped(sums_of, batches, scorer), strict=True):
        if not np.isfinite(sums_SB).all():
            bad = int(rows[members[np.flatnonzero(~np.isfinite(sums_SB).all(axis=0))[0]]])
            where = place(bad) if place else tokens.ids[bad].decode()
            raise NumericsError(
                f"{where}: the proxy's loss is not a finite number; nothing was imputed and the run stopped: "
                "a lower --learning-rate or --precision float32 trains a sound proxy"
            )
        sums_Sn[:, members] = sums_SB
        advance(int(lengths_n[members].sum()))
    return sums_Sn


def _mapped(
    job: Callable[[Int[np.ndarray, " _"]], Float[np.ndarray, "S _"]],
    batches: list[Int[np.ndarray, " _"]],
    scorer: Scorer,
) -> Iterator[Float[np.ndarray, "S _"]]:
    """`job` of every batch, in order; on a CPU by workers of one thread each."""
    if scorer.device.type != "cpu":
        yield from map(job, batches)
        return
    workers = ThreadPoolExecutor(scorer.workers, "scorer", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from workers.map(job, batches)
    finally:
        workers.shutdown(cancel_futures=True)
        # MKL has one setting for all threads, which the workers changed.
        torch.set_num_threads(torch.get_num_threads())


@torch.inference_mode()
def _batch_sums(model: PreTrainedModel, batch: Batch, path: HeadPath, scorer: Scorer) -> Float[np.ndarray, "S B"]:
    chunk = chunk_for(model.config.get_text_config().vocab_size)
    with scorer.autocast():
        chunks = [statistics(logits_rV, target_r) for logits_rV, target_r in response_logits(model, batch, path, chunk)]
    values_SR = torch.cat(chunks, dim=1).cpu().numpy().astype(np.float64)
    starts_B = np.concatenate([[0], np.cumsum(batch.count_B)[:-1]])
    return np.add.reduceat(values_SR, starts_B, axis=1)
