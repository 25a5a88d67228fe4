"""Model and batch → logits of the response tokens only: trunk, then the head at the positions that count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.scoring.batching import Batch

HeadPath = Literal["trunk", "whole"]
CHUNK_ELEMENTS = 2**21
TOLERANCE = 1e-3


def response_logits(
    model: PreTrainedModel, batch: Batch, path: HeadPath, chunk: int | None = None
) -> Iterator[tuple[Float[torch.Tensor, "r V"], Int[torch.Tensor, " r"]]]:
    """Float32 logits and targets of the counted tokens in order, `chunk` tokens at a time (all at once if None)."""
    if path == "trunk":
        hidden = model.base_model(input_ids=batch.input_ids_BL, use_cache=False).last_hidden_state
        states_RD = hidden.flatten(0, 1)[batch.position_R]
        head = model.get_output_embeddings()
    else:
        logits_BLV = model(input_ids=batch.input_ids_BL, use_cache=False).logits
        states_RD, head = logits_BLV.flatten(0, 1)[batch.position_R], torch.nn.Identity()
    step = chunk or len(batch.target_R)
    for start in range(0, len(batch.target_R), step):
        yield head(states_RD[start : start + step]).float(), batch.target_R[start : start + step]


def chunk_for(vocabulary: int) -> int:
    """Tokens whose logits stay in the processor's cache while the statistics pass over them."""
    return max(16, CHUNK_ELEMENTS // vocabulary)


@torch.no_grad()
def choose_path(model: PreTrainedModel, batch: Batch) -> HeadPath:
    """`trunk` if it gives the logits of the whole model on this batch, else `whole` (soft-capped or scaled heads)."""
    if model.get_output_embeddings() is None or model.base_model is model:
        return "whole"
    was_training = model.training
    model.eval()
    try:
        whole, _ = next(response_logits(model, batch, "whole"))
        trunk, _ = next(response_logits(model, batch, "trunk"))
    except (AttributeError, TypeError, RuntimeError):
        return "whole"
    finally:
        model.train(was_training)
    scale = whole.abs().max().clamp(min=1)
    agree = whole.shape == trunk.shape and bool(((whole - trunk).abs().max() <= TOLERANCE * scale).item())
    return "trunk" if agree else "whole"
