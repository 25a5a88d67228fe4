"""The rows that are shown, scored once more by the proxy at its last checkpoint, token by token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from s2l.progress import Progress
from s2l.proxy import checkpoints
from s2l.report.page.seen import Seen
from s2l.types import STATISTICS, Tokens


def token_losses(
    seen: Seen, tokens: Tokens, rows: Int[np.ndarray, " n"], progress: Progress
) -> list[Float[np.ndarray, " _"]] | None:
    """Loss of every response token of each row, nats, float32 products; None where the checkpoint is gone.

    A GPU that the run had is used where there is one, else the CPU.
    """
    checkpoint = checkpoints.find(seen.folder.proxy, seen.trajectories.steps[-1])
    if checkpoint is None:
        return None
    import torch

    from s2l.proxy.checkpoints import load_model
    from s2l.proxy.memory import enough_memory
    from s2l.scoring.batching import collate, group_by_length
    from s2l.scoring.forward import choose_path, response_statistics
    from s2l.scoring.setup import kept_scorer

    kept = kept_scorer(seen.plan, seen.folder.trajectories)
    there = kept.device.type != "cuda" or torch.cuda.is_available()
    scorer = replace(kept, precision="float32", device=kept.device if there else torch.device("cpu"))
    losses: list[Float[np.ndarray, " _"]] = [np.zeros(0)] * len(rows)
    lengths_n = tokens.lengths[rows]
    with (
        seen.plan.cpu_threads(),
        enough_memory(scorer.batch_tokens),
        progress.stage("score the rows shown", int(lengths_n.sum()), "tokens") as advance,
        torch.inference_mode(),
    ):
        model = load_model(checkpoint, scorer.device).eval()
        for members in group_by_length(lengths_n, 1 if scorer.path == "alone" else scorer.batch_tokens):
            batch = collate(tokens, rows[members], scorer.round_to).to(scorer.device)
            path = scorer.path or choose_path(model, batch)
            nll_R = response_statistics(model, batch, path)[STATISTICS.index("nll")].cpu().numpy()
            stops = np.cumsum(batch.count_B)
            for row, part in zip(members.tolist(), np.split(nll_R, stops[:-1]), strict=True):
                losses[row] = part
            advance(int(lengths_n[members].sum()))
    return losses
