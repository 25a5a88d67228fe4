"""One checkpoint × many rows → sums per row over response tokens."""

from __future__ import annotations

from collections.abc import Callable
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
    """How to score: tokens of one forward pass, where, and in which precision of matrix products."""

    batch_tokens: int
    device: torch.device
    precision: str

    def autocast(self) -> torch.autocast:
        """The context in which the model runs."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")


@torch.inference_mode()
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
    path: HeadPath | None = None
    for members in group_by_length(lengths_n, scorer.batch_tokens):
        batch = collate(tokens, rows[members]).to(scorer.device)
        path = path or choose_path(model, batch)
        sums_SB = _batch_sums(model, batch, path, scorer)
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


def _batch_sums(model: PreTrainedModel, batch: Batch, path: HeadPath, scorer: Scorer) -> Float[np.ndarray, "S B"]:
    chunk = chunk_for(model.config.get_text_config().vocab_size)
    with scorer.autocast():
        chunks = [statistics(logits_rV, target_r) for logits_rV, target_r in response_logits(model, batch, path, chunk)]
    values_SR = torch.cat(chunks, dim=1).cpu().numpy().astype(np.float64)
    starts_B = np.concatenate([[0], np.cumsum(batch.count_B)[:-1]])
    return np.add.reduceat(values_SR, starts_B, axis=1)
