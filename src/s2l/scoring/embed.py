"""One checkpoint × many rows → an embedding of each: a mean of the last hidden states."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.progress import Advance
from s2l.scoring.batching import Batch, collate, group_by_length
from s2l.scoring.precision import plain_kernels
from s2l.types import Tokens

Pooling = Literal["response", "position"]
"""response: mean over the states that predict response tokens. position: over all tokens, the p-th with weight p."""


@torch.inference_mode()
def embed(
    model: PreTrainedModel,
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    pooling: Pooling,
    batch_tokens: int,
    advance: Advance = lambda _tokens: None,
) -> Float[np.ndarray, "n D"]:
    """Embeddings of the rows, float32; `position` is the pooling of RDS+ (arXiv 2503.01807)."""
    model.eval()
    lengths_n = tokens.lengths[rows]
    embedding_nD = np.empty((len(rows), model.config.get_text_config().hidden_size), dtype=np.float32)
    with plain_kernels(model.device.type, "float32"):
        for members in group_by_length(lengths_n, batch_tokens):
            batch = collate(tokens, rows[members]).to(model.device)
            hidden_BLD = model.base_model(input_ids=batch.input_ids_BL, use_cache=False).last_hidden_state.float()
            weight_BL = _weights(pooling, batch, torch.as_tensor(lengths_n[members], device=model.device))
            mean_BD = torch.bmm(weight_BL[:, None], hidden_BLD)[:, 0] / weight_BL.sum(dim=1, keepdim=True)
            embedding_nD[members] = mean_BD.cpu().numpy()
            advance(int(lengths_n[members].sum()))
    return embedding_nD


def _weights(pooling: Pooling, batch: Batch, lengths_B: Int[torch.Tensor, " B"]) -> Float[torch.Tensor, "B L"]:
    rows, length = batch.input_ids_BL.shape
    if pooling == "response":
        weight = torch.zeros(rows * length, device=batch.input_ids_BL.device)
        weight[batch.position_R] = 1
        return weight.view(rows, length)
    place_L = torch.arange(1, length + 1, device=batch.input_ids_BL.device, dtype=torch.float32)
    return place_L * (place_L <= lengths_B[:, None])
