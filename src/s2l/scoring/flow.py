"""One backward pass for the losses of many rows: what each module was given, and what flows back to it.

The rows' losses add up and no row reads another, so what flows back at a row's positions is that row's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from s2l.proxy.memory import is_out_of_memory
from s2l.scoring.batching import Batch
from s2l.scoring.forward import choose_path

Kind = Literal["linear", "embedding", "norm"]
See = Callable[[torch.nn.Module, Kind, torch.Tensor, torch.Tensor], None]
"""Told of a module with parameters: its kind, what it was given, and the gradient by what it gave."""
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

    `see` is told of every module of the trunk that has parameters; NotCoveredError where there is no rule for one.
    """
    head = model.get_output_embeddings()
    count_B = torch.as_tensor(batch.count_B, device=batch.target_R.device)
    row_R = torch.repeat_interleave(torch.arange(len(count_B), device=count_B.device), count_B)
    with torch.set_grad_enabled(see is not None), _watching(model, len(count_B), see) if see else nullcontext():
        hidden_BLD = model.base_model(input_ids=batch.input_ids_BL, use_cache=False).last_hidden_state
        states_RD = hidden_BLD.flatten(0, 1)[batch.position_R]
        with torch.no_grad():
            excess_RV = head(states_RD).float().softmax(dim=1)
            excess_RV.scatter_add_(1, batch.target_R[:, None], -torch.ones_like(excess_RV[:, :1]))
            excess_RV /= count_B[row_R, None]
        if see:
            states_RD.backward(excess_RV @ head.weight)
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


def shared_is_right(
    model: PreTrainedModel,
    batch: Batch,
    shared: Callable[[], Float[torch.Tensor, "B D"]],
    alone: Callable[[], Float[torch.Tensor, "B D"]],
) -> bool:
    """Whether a shared pass gives each row of the batch what its own pass gives."""
    if type(model.get_output_embeddings()) is not torch.nn.Linear or choose_path(model, batch) != "trunk":
        return False
    try:
        ours_BD = shared()
    except (NotCoveredError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        return False
    theirs_BD = alone()
    return bool(((ours_BD - theirs_BD).norm(dim=1) <= SAME * theirs_BD.norm(dim=1)).all())


def multiplied(module: torch.nn.Module, given: torch.Tensor) -> torch.Tensor:
    """What a norm's weight multiplies, elementwise: its output is linear in its weight, so that is out(1) − out(0)."""
    own = dict(module.named_parameters(recurse=False))
    with torch.no_grad():
        one, none = (
            functional_call(module, {**own, "weight": torch.full_like(own["weight"], value)}, (given,))
            for value in (1.0, 0.0)
        )
    difference: torch.Tensor = one - none
    return difference


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
def _watching(model: PreTrainedModel, rows: int, see: See) -> Iterator[None]:
    """Hooks on the trunk's modules; no weight takes a gradient, the embeddings' outputs begin the graph."""
    head = model.get_output_embeddings()
    wanted = [own.requires_grad for own in model.parameters()]
    handles = [
        module.register_forward_hook(partial(_on_forward, rows, see))
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


def _on_forward(
    rows: int, see: See, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
) -> torch.Tensor:
    if not torch.is_grad_enabled():  # called by a rule, while gradients flow
        return output
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
