"""Held-out loss per response token, by source: what also tells small models apart, which answer little exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from s2l.data.card import kind
from s2l.progress import SILENT, Progress
from s2l.scoring.score import Scorer, score
from s2l.scoring.setup import checked_path
from s2l.target.evaluated import Evaluated
from s2l.types import STATISTICS

BATCH_TOKENS = 4096


def heldout(
    evaluated: Evaluated, paths: Sequence[str], workers: int | None = None, progress: Progress = SILENT
) -> dict[str, Any]:
    """Loss in nats per response token on the rows of files, in the model's own tokens and template.

    `loss_per_token`: over all tokens alike; `macro`: the mean over sources of each source's; `excluded`: reason → rows.
    Raises NumericsError, naming the row, for a loss that is not finite.
    """
    pool, tokens = evaluated.read(paths, progress)
    model, every = evaluated.model, np.arange(len(tokens))
    path = checked_path(model, tokens, model.device)
    threads = torch.get_num_threads() if workers is None else workers
    scorer = Scorer(1 if path == "alone" else BATCH_TOKENS, model.device, "float32", threads, path)
    place_P, scorable_P = pool.rows.stand_in(tokens.ids)
    at_N = np.empty(len(tokens), dtype=np.int64)
    at_N[place_P[scorable_P]] = np.flatnonzero(scorable_P)

    def place(row: int) -> str:
        return pool.rows.place(int(at_N[row]))

    with progress.stage("held-out loss", int(tokens.start_N[-1]), "tokens") as advance:
        sums_N = score(model, tokens, every, scorer, advance, place)[STATISTICS.index("nll")]
    found = by_source(sums_N, tokens.response_lengths, pool.rows.source_N[at_N], pool.rows.sources)
    reasons = Counter(kind(reason) for reason in {**pool.rows.excluded, **tokens.excluded}.values())
    return found | {
        "rows": len(tokens),
        "tokens": int(tokens.response_lengths.sum()),
        "truncated": int(tokens.truncated_N.sum()),
        "excluded": dict(reasons.most_common()),
        "files": list(paths),
        "digest": pool.digest,
    }


def by_source(
    nll_N: Float[np.ndarray, " N"],
    tokens_N: Int[np.ndarray, " N"],
    source_N: Int[np.ndarray, " N"],
    sources: Sequence[str],
) -> dict[str, Any]:
    """Sums of NLL and counts of tokens by row → loss per token of every source, their plain mean, and that of all."""
    nll_S = np.bincount(source_N, nll_N.astype(np.float64), len(sources))
    tokens_S = np.bincount(source_N, tokens_N, len(sources))
    rows_S = np.bincount(source_N, minlength=len(sources))
    there = np.flatnonzero(rows_S)
    loss_S = nll_S[there] / tokens_S[there]
    each = zip(there.tolist(), loss_S.tolist(), strict=True)
    return {
        "loss_per_token": float(nll_S.sum() / tokens_S.sum()),
        "macro": float(loss_S.mean()),
        "by_source": {
            sources[s]: {"loss": loss, "rows": int(rows_S[s]), "tokens": int(tokens_S[s])} for s, loss in each
        },
    }
