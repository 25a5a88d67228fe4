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
MAGNIFIED = 1e4


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
    """`trunk` if the model's logits are just its head over its trunk, else `whole`: scaled or soft-capped logits.

    Seen on the batch's first row with the head's output magnified, so that no cap or scale is too weak to show.
    """
    head = model.get_output_embeddings()
    if head is None or model.base_model is model:
        return "whole"
    row_1L = batch.input_ids_BL[:1]
    seen: dict[str, torch.Tensor] = {}

    def magnify(_head: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        seen["states"], seen["logits"] = inputs[0], output * MAGNIFIED
        return seen["logits"]

    was_training = model.training
    hook = head.register_forward_hook(magnify)
    try:
        model.eval()
        logits = model(input_ids=row_1L, use_cache=False).logits
        hook.remove()
        states = model.base_model(input_ids=row_1L, use_cache=False).last_hidden_state
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, TypeError, RuntimeError):
        return "whole"
    finally:
        hook.remove()
        model.train(was_training)
    plain = "logits" in seen and torch.equal(logits, seen["logits"]) and torch.allclose(states, seen["states"])
    return "trunk" if plain else "whole"
