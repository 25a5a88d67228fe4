"""One checkpoint × many rows → an embedding of each: a mean of the last hidden states."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.progress import Advance
from s2l.scoring.batching import Batch
from s2l.scoring.workers import by_batch
from s2l.types import Tokens

Pooling = Literal["response", "position"]
"""response: mean over the states that predict response tokens. position: over all tokens, the p-th with weight p."""


def embed(
    model: PreTrainedModel,
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    pooling: Pooling,
    batch_tokens: int,
    workers: int = 1,
    advance: Advance = lambda _tokens: None,
) -> Float[np.ndarray, "n D"]:
    """Embeddings of the rows, float32; `position` is the pooling of RDS+ (arXiv 2503.01807). workers: as `Scorer`'s."""
    model.eval()

    @torch.inference_mode()
    def compute(batch: Batch) -> Float[torch.Tensor, "B D"]:
        hidden_BLD = model.base_model(input_ids=batch.input_ids_BL, use_cache=False).last_hidden_state.float()
        lengths_B = torch.as_tensor(tokens.lengths[batch.rows_B], device=model.device)
        weight_BL = _weights(pooling, batch, lengths_B)
        return torch.bmm(weight_BL[:, None], hidden_BLD)[:, 0] / weight_BL.sum(dim=1, keepdim=True)

    return by_batch(compute, tokens, rows, batch_tokens, model.device, workers, advance)


def _weights(pooling: Pooling, batch: Batch, lengths_B: Int[torch.Tensor, " B"]) -> Float[torch.Tensor, "B L"]:
    rows, length = batch.input_ids_BL.shape
    if pooling == "response":
        weight = torch.zeros(rows * length, device=batch.input_ids_BL.device)
        weight[batch.position_R] = 1
        return weight.view(rows, length)
    place_L = torch.arange(1, length + 1, device=batch.input_ids_BL.device, dtype=torch.float32)
    return place_L * (place_L <= lengths_B[:, None])
