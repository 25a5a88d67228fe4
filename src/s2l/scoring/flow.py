"""One backward pass for the losses of many rows: what each module was given, and what flows back to it.

The rows' losses add up and no row reads another, so what flows back at a row's positions is that row's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from s2l.progress import Advance
from s2l.proxy.memory import is_out_of_memory
from s2l.scoring.batching import Batch, collate
from s2l.scoring.forward import choose_path
from s2l.scoring.precision import plain_kernels
from s2l.scoring.trunk import trunk_states
from s2l.scoring.workers import by_batch
from s2l.types import Tokens

Kind = Literal["linear", "embedding", "norm"]
See = Callable[[torch.nn.Module, Kind, torch.Tensor, torch.Tensor], None]
"""Told of a module with parameters: its kind, what it was given, and the gradient by what it gave."""
_TOLD: ContextVar[tuple[int, See] | None] = ContextVar("rows of the batch that flows, who is told of it", default=None)
LOGITS_AT_ONCE = 2**25
SAME = 1e-3
"""Relative difference from a row's own backward pass beyond which the shared pass is not trusted."""


class NotCoveredError(Exception):
    """A module whose parameters' gradients the shared pass cannot tell apart by row."""


@dataclass(frozen=True)
class AtHead:
    """What the head was given at each counted token, and the gradients of the rows' mean losses by its logits.

    row_R: the row of the batch that the token belongs to.
    """

    states_RD: Float[torch.Tensor, "R D"]
    excess_RV: Float[torch.Tensor, "R V"]
    row_R: Int[torch.Tensor, " R"]


def flow(model: PreTrainedModel, batch: Batch, see: See | None = None) -> AtHead:
    """Read the batch and let the gradients of its rows' mean losses flow back past `see`; without it none flows.

    `see` is told of every module of the trunk that has parameters, if the model is `watched`, in whichever thread;
    NotCoveredError where there is no rule for one.
    """
    head = model.get_output_embeddings()
    assert see is None or not head.weight.requires_grad, "the model is not watched"
    count_B = torch.as_tensor(batch.count_B, device=batch.target_R.device)
    row_R = torch.repeat_interleave(torch.arange(len(count_B), device=count_B.device), count_B)
    told = _TOLD.set((len(count_B), see) if see else None)
    try:
        with torch.set_grad_enabled(see is not None):
            if see:  # at every position: a module's gradients belong to the rows that it was given
                hidden_BLD = model.base_model(input_ids=batch.input_ids_BL, use_cache=False).last_hidden_state
                states_RD = hidden_BLD.flatten(0, 1)[batch.position_R]
            else:
                states_RD = trunk_states(model, batch)
            with torch.no_grad():
                excess_RV = head(states_RD).float().softmax(dim=1)
                excess_RV.scatter_add_(1, batch.target_R[:, None], -torch.ones_like(excess_RV[:, :1]))
                excess_RV /= count_B[row_R, None]
            if see:
                states_RD.backward(excess_RV @ head.weight)
    finally:
        _TOLD.reset(told)
    return AtHead(states_RD.detach(), excess_RV, row_R)


def own_gradients(
    model: PreTrainedModel, batch: Batch, wanted: Sequence[torch.nn.Parameter], *, head_alone: bool = False
) -> Iterator[Sequence[torch.Tensor | None]]:
    """The naive formula: of every row of the batch, one after the other, its mean loss's gradient by `wanted`.

    head_alone: what the head reads is fixed, so that a weight it shares with the embedding is seen as the head's only.
    """
    length, start = batch.input_ids_BL.shape[1], 0
    for row, count in enumerate(batch.count_B.tolist()):
        mine = slice(start, start := start + count)
        given = {"input_ids": batch.input_ids_BL[row : row + 1], "use_cache": False}
        with torch.enable_grad():
            if head_alone:
                logits_LV = model.get_output_embeddings()(model.base_model(**given).last_hidden_state[0].detach())
            else:
                logits_LV = model(**given).logits[0]
            logits_rV = logits_LV[batch.position_R[mine] - row * length].float()
            loss = cross_entropy(logits_rV, batch.target_R[mine])
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
        yield gradients


def tokens_of_a_pass(model: PreTrainedModel, batch_tokens: int) -> int:
    """Tokens of one pass: as asked, but no more than keeps (tokens × vocabulary) logits within 128 MiB."""
    vocabulary: int = model.config.get_text_config().vocab_size
    return min(batch_tokens, max(1, LOGITS_AT_ONCE // vocabulary))


def by_shared_pass(
    model: PreTrainedModel,
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    shared: Callable[[Batch], torch.Tensor],
    alone: Callable[[Batch], torch.Tensor],
    batch_tokens: int,
    workers: int,
    advance: Advance,
) -> Float[np.ndarray, "n ..."]:
    """What `shared` says of each batch; what `alone` says of each row, if they differ on the shortest or the median."""
    model.eval()
    tried = collate(tokens, rows[np.argsort(tokens.lengths[rows], kind="stable")[[0, len(rows) // 2]]])
    with plain_kernels(model.device.type, "float32"):
        is_right = shared_is_right(model, tried.to(model.device), shared, alone)
    if not is_right:
        return by_batch(alone, tokens, rows, 1, model.device, advance=advance)
    with watched(model):
        return by_batch(shared, tokens, rows, tokens_of_a_pass(model, batch_tokens), model.device, workers, advance)


def shared_is_right(
    model: PreTrainedModel,
    batch: Batch,
    shared: Callable[[Batch], torch.Tensor],
    alone: Callable[[Batch], torch.Tensor],
) -> bool:
    """Whether a shared pass gives each row of the batch what its own pass gives."""
    if type(model.get_output_embeddings()) is not torch.nn.Linear or choose_path(model, batch) != "trunk":
        return False
    try:
        with watched(model):
            ours_B = shared(batch)
    except (NotCoveredError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        return False
    theirs_B = alone(batch)
    off_B, size_B = (values_B.reshape(len(ours_B), -1).norm(dim=1) for values_B in (ours_B - theirs_B, theirs_B))
    return bool((off_B <= SAME * size_B).all())


def multiplied(module: torch.nn.Module, given: torch.Tensor) -> torch.Tensor:
    """What a norm's weight multiplies, elementwise: its output is linear in its weight, so that is out(1) − out(0)."""
    twin = deepcopy(module)  # other threads are using the module
    weight = twin.get_parameter("weight")
    with torch.no_grad():
        weight.fill_(1)
        one: torch.Tensor = twin(given)
        weight.zero_()
        none: torch.Tensor = twin(given)
    return one - none


def without_padding(
    embedding: torch.nn.Embedding, ids_BL: Int[torch.Tensor, "B L"], gradient_BLD: Float[torch.Tensor, "B L D"]
) -> Float[torch.Tensor, "B L D"]:
    """What flows back to an embedding's weight: its padding entry is never trained."""
    if embedding.padding_idx is None:
        return gradient_BLD
    return gradient_BLD * (ids_BL != embedding.padding_idx)[..., None]


def over_positions(values: torch.Tensor) -> Float[torch.Tensor, "B D"]:
    """Sums over all dimensions but the first (rows) and the last."""
    return values.flatten(1, -2).sum(dim=1)


@contextmanager
def watched(model: PreTrainedModel) -> Iterator[None]:
    """Within it the trunk's modules tell `flow` what passes; no weight takes a gradient, the embeddings' outputs do."""
    head = model.get_output_embeddings()
    wanted = [own.requires_grad for own in model.parameters()]
    handles = [
        module.register_forward_hook(_on_forward)
        for module in model.modules()
        if module is not head and next(module.parameters(recurse=False), None) is not None
    ]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for own, before in zip(model.parameters(), wanted, strict=True):
            own.requires_grad_(before)


def _on_forward(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    if (told := _TOLD.get()) is None or not torch.is_grad_enabled():  # without: called by a rule, as gradients flow
        return output
    rows, see = told
    kind, given = _kind(module), inputs[0].detach()
    if len(output) != rows:
        raise NotCoveredError(type(module).__name__)
    if not output.requires_grad:
        output = output.detach().requires_grad_()
    output.register_hook(lambda gradient: see(module, kind, given, gradient))
    return output


def _kind(module: torch.nn.Module) -> Kind:
    """Which rule tells the gradients of a module's own parameters; NotCoveredError where none does."""
    names = {name for name, _ in module.named_parameters(recurse=False)}
    if type(module) in {torch.nn.Linear, Conv1D}:
        return "linear"
    if type(module) is torch.nn.Embedding and module.max_norm is None:
        return "embedding"
    if type(module).__name__.endswith("Norm") and names in ({"weight"}, {"weight", "bias"}):
        return "norm"
    raise NotCoveredError(type(module).__name__)
