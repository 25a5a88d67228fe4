"""Model and batch → the trunk's states that predict counted tokens; what nothing reads is not computed.

Behind the attention of the last layer every position stands alone, and most are read by nobody: those of prompts and of
padding. Its MLP, most of the layer's weights, is run at the positions that predict counted tokens only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

import torch
from jaxtyping import Float
from transformers import PreTrainedModel

from s2l.scoring.batching import Batch

_READ: ContextVar[Batch | None] = ContextVar("the batch whose counted positions are read", default=None)
_LOCK = Lock()


def trunk_states(model: PreTrainedModel, batch: Batch) -> Float[torch.Tensor, "R D"]:
    """The last hidden state at each of `batch.position_R`, whichever thread asks."""
    with _only_what_is_read(model, batch):
        hidden_BLD = model.base_model(input_ids=batch.input_ids_BL, use_cache=False).last_hidden_state
    states_RD: Float[torch.Tensor, "R D"] = hidden_BLD.flatten(0, 1).index_select(0, batch.position_R)
    return states_RD


def last_mlp(model: PreTrainedModel) -> torch.nn.Module | None:
    """The MLP of the last layer, where layers and MLP go by their usual names; None elsewhere."""
    layers = [module for module in model.base_model.modules() if isinstance(module, torch.nn.ModuleList)]
    deep = [module for module in layers if len(module) == model.config.get_text_config().num_hidden_layers]
    mlp = getattr(deep[0][-1], "mlp", None) if len(deep) == 1 else None
    return mlp if isinstance(mlp, torch.nn.Module) else None


@contextmanager
def _only_what_is_read(model: PreTrainedModel, batch: Batch) -> Iterator[None]:
    mlp = last_mlp(model)
    if mlp is not None:
        with _LOCK:
            if _gather not in mlp._forward_pre_hooks.values():
                mlp.register_forward_pre_hook(_gather)
                mlp.register_forward_hook(_scatter)
    token = _READ.set(batch)
    try:
        yield
    finally:
        _READ.reset(token)


def _gather(_mlp: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
    if (batch := _READ.get()) is None:
        return None
    return (inputs[0].flatten(0, 1).index_select(0, batch.position_R)[None], *inputs[1:])


def _scatter(_mlp: torch.nn.Module, _inputs: Any, output: Any) -> Any:
    """Zeros where nothing was computed. A mixture of experts gives its router's values behind its states."""
    if (batch := _READ.get()) is None:
        return None
    states_1RD, *more = output if isinstance(output, tuple) else (output,)
    shape = (*batch.input_ids_BL.shape, states_1RD.shape[-1])
    whole_BLD = states_1RD.new_zeros(shape).flatten(0, 1).index_copy(0, batch.position_R, states_1RD[0]).view(shape)
    return (whole_BLD, *more) if isinstance(output, tuple) else whole_BLD
