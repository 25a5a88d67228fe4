"""Model and batch → logits of the response tokens only: trunk, then the head at the positions that count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch.nn.functional import linear, pad
from transformers import PreTrainedModel

from s2l.proxy.memory import is_out_of_memory
from s2l.scoring import head
from s2l.scoring.batching import Batch
from s2l.scoring.trunk import trunk_states

HeadPath = Literal["trunk", "whole", "alone"]
"""Head over trunk; the model's own logits of a batch; of one row at a time, the reference."""
Update = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
CPU_TOKENS, CPU_LOGITS = 256, 2**19
GPU_TOKENS, GPU_LOGITS = 8192, 2**27
ROUND_TO = 32
MAGNIFIED = 1e4


def response_logits(
    model: PreTrainedModel, batch: Batch, path: HeadPath, chunk: int | None = None
) -> Iterator[tuple[Float[torch.Tensor, "r V"], Int[torch.Tensor, " r"]]]:
    """Float32 logits and targets of the counted tokens in order, `chunk` tokens at a time (all at once if None)."""
    states_RD, projection = _states(model, batch, path)
    step = chunk or len(batch.target_R)
    for start in range(0, len(batch.target_R), step):
        yield projection(states_RD[start : start + step]).float(), batch.target_R[start : start + step]


def response_statistics(
    model: PreTrainedModel, batch: Batch, path: HeadPath, update: Update = head.update
) -> Float[torch.Tensor, "S R"]:
    """`head.statistics` of every counted token in order, from chunks of rows and vocabulary that stay in the cache."""
    states_RD, projection = _states(model, batch, path)
    return response_statistics_at(states_RD, None, batch.target_R, projection, update)


def response_statistics_at(
    states_PD: Float[torch.Tensor, "P D"],
    position_R: Int[torch.Tensor, " R"] | None,
    target_R: Int[torch.Tensor, " R"],
    projection: torch.nn.Module,
    update: Update = head.update,
) -> Float[torch.Tensor, "S R"]:
    """The same of states (or logits, where `projection` is the identity) at these positions, at all if not given."""
    tokens_at_once, logits_at_once = (
        (CPU_TOKENS, CPU_LOGITS) if target_R.device.type == "cpu" else (GPU_TOKENS, GPU_LOGITS)
    )
    columns = max(1, logits_at_once // tokens_at_once)
    if isinstance(projection, torch.nn.Identity):
        tokens_at_once = max(1, min(tokens_at_once, logits_at_once // states_PD.shape[1]))
    pieces = []
    for start in range(0, len(target_R), tokens_at_once):
        part = slice(start, start + tokens_at_once)
        states_rD = states_PD[part] if position_R is None else states_PD[position_R[part]]
        pieces.append(_statistics(states_rD, target_R[part], projection, columns, update))
    return torch.cat(pieces, dim=1)


def _states(model: PreTrainedModel, batch: Batch, path: HeadPath) -> tuple[Float[torch.Tensor, "R D"], torch.nn.Module]:
    """What predicts each counted token, and the module that makes its logits of it."""
    if path == "trunk":
        return trunk_states(model, batch), model.get_output_embeddings()
    logits_BLV = model(input_ids=batch.input_ids_BL, use_cache=False).logits
    return logits_BLV.flatten(0, 1)[batch.position_R], torch.nn.Identity()


def _statistics(
    states_rD: Float[torch.Tensor, "r D"],
    target_r: Int[torch.Tensor, " r"],
    projection: torch.nn.Module,
    columns: int,
    update: Update,
) -> Float[torch.Tensor, "S r"]:
    if type(projection) is not torch.nn.Linear:
        return head.statistics(projection(states_rD).float(), target_r)
    weight_VD, bias_V = projection.weight, projection.bias
    states_rD = states_rD.to(weight_VD.dtype)
    if weight_VD.dtype != torch.float32 and (missing := -len(target_r) % ROUND_TO):
        padded_rD, padded_r = pad(states_rD, (0, 0, 0, missing)), pad(target_r, (0, missing))
        return _statistics(padded_rD, padded_r, projection, columns, update)[:, :-missing]
    running_4r = head.nothing(target_r)
    target_logit_r = running_4r[0]
    for start in range(0, len(weight_VD), columns):
        part = slice(start, start + columns)
        logits_rv = linear(states_rD, weight_VD[part], None if bias_V is None else bias_V[part])
        target_logit_r = head.take_out(logits_rv, target_r - start, target_logit_r)
        running_4r = update(running_4r, logits_rv)
    if weight_VD.dtype != torch.float32:
        # A rounded logit of the target would add its error to the loss, where those of the others average out.
        target_logit_r = (states_rD.float() * weight_VD[target_r].float()).sum(dim=1)
        target_logit_r += 0 if bias_V is None else bias_V[target_r].float()
    return head.concluded(running_4r, target_logit_r)


@torch.no_grad()
def choose_path(model: PreTrainedModel, batch: Batch) -> HeadPath:
    """`trunk` if the model's logits are just its head over its trunk, else `whole`: scaled or soft-capped logits.

    Seen on the batch's first row with the head's output magnified, so that no cap or scale is too weak to show.
    """
    projection = model.get_output_embeddings()
    if projection is None or model.base_model is model:
        return "whole"
    row_1L = batch.input_ids_BL[:1]
    seen: dict[str, torch.Tensor] = {}

    def magnify(_projection: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        seen["states"], seen["logits"] = inputs[0], output * MAGNIFIED
        return seen["logits"]

    was_training = model.training
    hook = projection.register_forward_hook(magnify)
    try:
        model.eval()
        logits = model(input_ids=row_1L, use_cache=False).logits
        hook.remove()
        states = model.base_model(input_ids=row_1L, use_cache=False).last_hidden_state
    except (AttributeError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        return "whole"
    finally:
        hook.remove()
        model.train(was_training)
    plain = "logits" in seen and torch.equal(logits, seen["logits"]) and torch.allclose(states, seen["states"])
    return "trunk" if plain else "whole"
