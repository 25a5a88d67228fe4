"""The norm of every row's own gradient, many rows in one backward pass.

The rows' losses add up, so what flows back through a module is each row's own. Its weights' gradient is never made: of
a linear layer with inputs a and output gradients g, ‖Σ_l g_l a_lᵀ‖² is the sum of the products of two Gram matrices, or
is taken directly where that is less work (Goodfellow 2015, arXiv 1510.01799; Li et al. 2021, arXiv 2110.05679).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from s2l.progress import Advance
from s2l.scoring.batching import Batch, collate, group_by_length
from s2l.scoring.forward import choose_path
from s2l.scoring.precision import plain_kernels
from s2l.types import Tokens

Scope = Literal["all", "head"]
LOGITS_AT_ONCE = 2**25
SAME = 1e-3
"""Relative difference from the row's own backward pass beyond which the shared pass is not trusted."""


def gradient_norms(
    model: PreTrainedModel,
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    scope: Scope,
    batch_tokens: int,
    advance: Advance = lambda _tokens: None,
) -> Float[np.ndarray, " n"]:
    """GraNd: ‖∇ of the row's mean response loss‖₂ in eval mode, over all parameters or those of the head alone.

    The first rows are checked against a backward pass of their own; a model with a parameter that the shared pass does
    not cover takes one backward pass for each row.
    """
    model.eval()
    lengths_n = tokens.lengths[rows]
    at_once = min(batch_tokens, max(1, LOGITS_AT_ONCE // model.config.get_text_config().vocab_size))
    norms_n = np.empty(len(rows))
    with plain_kernels(model.device.type, "float32"):
        shared = _is_right(model, collate(tokens, rows[np.argsort(lengths_n, kind="stable")[:2]]), scope)
        for members in group_by_length(lengths_n, at_once if shared else 1):
            batch = collate(tokens, rows[members]).to(model.device)
            squared_B = squared_norms(model, batch, scope) if shared else squared_norms_alone(model, batch, scope)
            norms_n[members] = squared_B.clamp_min(0).sqrt().cpu().numpy()
            advance(int(lengths_n[members].sum()))
    return norms_n


def squared_norms_alone(model: PreTrainedModel, batch: Batch, scope: Scope) -> Float[torch.Tensor, " B"]:
    """The naive formula: one backward pass for each row.

    scope `head`: of the head as it is used on the trunk's states; what a tied weight gets as an embedding is left out.
    """
    head = model.get_output_embeddings()
    wanted = list(model.parameters() if scope == "all" else head.parameters())
    starts = np.concatenate([[0], np.cumsum(batch.count_B)])
    squared = []
    for row, (start, stop) in enumerate(pairwise(starts.tolist())):
        given = {"input_ids": batch.input_ids_BL[row : row + 1], "use_cache": False}
        with torch.enable_grad():
            if scope == "all":
                logits_LV = model(**given).logits[0]
            else:
                logits_LV = head(model.base_model(**given).last_hidden_state[0].detach())
            position = batch.position_R[start:stop] - row * batch.input_ids_BL.shape[1]
            loss = cross_entropy(logits_LV[position].float(), batch.target_R[start:stop])
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
        squared.append(sum(g.double().square().sum() for g in gradients if g is not None))
    return torch.stack([torch.as_tensor(value) for value in squared])


def squared_norms(model: PreTrainedModel, batch: Batch, scope: Scope) -> Float[torch.Tensor, " B"]:
    """The same from one pass for all rows; only for a model that `covered` says yes to."""
    head = model.get_output_embeddings()
    count_B = torch.as_tensor(batch.count_B, device=batch.target_R.device)
    row_R = torch.repeat_interleave(torch.arange(len(count_B), device=count_B.device), count_B)
    ghosts = Ghosts(model, batch) if scope == "all" else None
    with torch.set_grad_enabled(scope == "all"), ghosts.watching() if ghosts else torch.no_grad():
        hidden_BLD = model.base_model(input_ids=batch.input_ids_BL, use_cache=False).last_hidden_state
        states_RD = hidden_BLD.flatten(0, 1)[batch.position_R]
        with torch.no_grad():
            excess_RV = head(states_RD).float().softmax(dim=1)
            excess_RV[torch.arange(len(row_R)), batch.target_R] -= 1
            excess_RV /= count_B[row_R, None]
        if ghosts:
            states_RD.backward(excess_RV @ head.weight)
    starts = np.concatenate([[0], np.cumsum(batch.count_B)])
    squared_B = torch.zeros(len(count_B), dtype=torch.float64, device=count_B.device)
    for row, (start, stop) in enumerate(pairwise(starts.tolist())):
        states_rD, excess_rV = states_RD[start:stop].detach(), excess_RV[start:stop]
        squared_B[row] = linear_squared(states_rD[None], excess_rV[None])[0]
        if head.bias is not None:
            squared_B[row] += excess_rV.sum(dim=0).square().sum()
        if ghosts and ghosts.tied is not None:
            own = ghosts.tied.row_U == row
            token_u, sum_uD = ghosts.tied.token_U[own], ghosts.tied.sum_UD[own]
            squared_B[row] += 2 * (excess_rV[:, token_u] * (states_rD @ sum_uD.t())).sum()
    return squared_B + ghosts.squared_B if ghosts else squared_B


def linear_squared(
    inputs_BLI: Float[torch.Tensor, "B L I"], gradients_BLO: Float[torch.Tensor, "B L O"]
) -> Float[torch.Tensor, " B"]:
    """‖Σ_l g_l a_lᵀ‖² of every row, by Gram matrices or directly, whichever is less work."""
    length, inputs, outputs = inputs_BLI.shape[1], inputs_BLI.shape[2], gradients_BLO.shape[2]
    if inputs * outputs < length * (inputs + outputs):
        return (gradients_BLO.transpose(1, 2) @ inputs_BLI).square().sum(dim=(1, 2), dtype=torch.float64)
    gram_BLL = (inputs_BLI @ inputs_BLI.transpose(1, 2)) * (gradients_BLO @ gradients_BLO.transpose(1, 2))
    return gram_BLL.sum(dim=(1, 2), dtype=torch.float64)


class TokenSums:
    """An embedding's gradient: of each row's distinct tokens U, the sum of what flows back to them."""

    def __init__(self, ids_BL: Int[torch.Tensor, "B L"], gradients_BLD: Float[torch.Tensor, "B L D"]) -> None:
        rows, _ = ids_BL.shape
        vocabulary = int(ids_BL.max()) + 1
        code_BL = ids_BL + torch.arange(rows, device=ids_BL.device)[:, None] * vocabulary
        code_U, at = torch.unique(code_BL.flatten(), return_inverse=True)
        self.row_U, self.token_U = code_U // vocabulary, code_U % vocabulary
        self.sum_UD = gradients_BLD.new_zeros(len(code_U), gradients_BLD.shape[2])
        self.sum_UD.index_add_(0, at, gradients_BLD.flatten(0, 1))

    def squared(self, rows: int) -> Float[torch.Tensor, " B"]:
        """‖·‖² of every row."""
        squared_B = torch.zeros(rows, dtype=torch.float64, device=self.sum_UD.device)
        return squared_B.index_add_(0, self.row_U, self.sum_UD.square().sum(dim=1, dtype=torch.float64))


class Ghosts:
    """Adds up ‖gradient‖² of every row and every parameter but the head's, while a backward pass goes by.

    tied: the sums of an embedding that is also the head's weight, for the cross term of the two.
    """

    def __init__(self, model: PreTrainedModel, batch: Batch) -> None:
        self.model = model
        self.rows = len(batch.rows_B)
        self.squared_B = torch.zeros(self.rows, dtype=torch.float64, device=batch.target_R.device)
        self.tied: TokenSums | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks on the trunk's modules; the weights take no gradient, the embeddings' outputs begin the graph."""
        head = self.model.get_output_embeddings()
        wanted = [own.requires_grad for own in self.model.parameters()]
        handles = [
            module.register_forward_hook(self._on_forward)
            for module in self.model.modules()
            if module is not head and next(module.parameters(recurse=False), None) is not None
        ]
        self.model.requires_grad_(False)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for own, before in zip(self.model.parameters(), wanted, strict=True):
                own.requires_grad_(before)

    def _on_forward(
        self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        if len(output) != self.rows:
            raise NotCoveredError(type(module).__name__)
        rule, given = _rule(module), inputs[0].detach()
        output.register_hook(lambda gradient: self._add(module, rule, given, gradient))
        return output

    def _add(self, module: torch.nn.Module, rule: Rule, given: torch.Tensor, gradient: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Embedding):
            sums = TokenSums(given, gradient)
            self.squared_B += sums.squared(self.rows)
            if module.weight is self.model.get_output_embeddings().weight:
                self.tied = sums
            return
        self.squared_B += rule(module, given, gradient)


Rule = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


class NotCoveredError(Exception):
    """A module whose parameters' gradients the shared pass cannot tell apart by row."""


def _of_linear(module: torch.nn.Module, given: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    squared_B = linear_squared(given, gradient)
    return squared_B + _of_bias(gradient) if module.bias is not None else squared_B


def _of_norm(module: torch.nn.Module, given: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Of a norm, whose output is linear in its weight, elementwise: what the weight multiplies is out(1) − out(0)."""
    own = dict(module.named_parameters(recurse=False))
    with torch.no_grad():
        one, none = (
            functional_call(module, {**own, "weight": torch.full_like(own["weight"], value)}, (given,))
            for value in (1.0, 0.0)
        )
    squared_B = _of_bias(gradient * (one - none))
    return squared_B + _of_bias(gradient) if own.get("bias") is not None else squared_B


def _of_bias(gradient: torch.Tensor) -> torch.Tensor:
    """Of what is added, elementwise: the sum over all dimensions but the first (rows) and the last (its own)."""
    return gradient.flatten(1, -2).sum(dim=1).square().sum(dim=1, dtype=torch.float64)


def _rule(module: torch.nn.Module) -> Rule:
    """How to square the gradient of a module's own parameters; NotCoveredError where no rule is known."""
    names = {name for name, _ in module.named_parameters(recurse=False)}
    if type(module) in {torch.nn.Linear, Conv1D}:
        return _of_linear
    if isinstance(module, torch.nn.Embedding) and module.max_norm is None:
        return _of_norm  # not called: embeddings are summed over equal tokens
    if type(module).__name__.endswith("Norm") and names in ({"weight"}, {"weight", "bias"}):
        return _of_norm
    raise NotCoveredError(type(module).__name__)


def _is_right(model: PreTrainedModel, batch: Batch, scope: Scope) -> bool:
    """Whether the shared pass gives these rows what their own passes give."""
    batch = batch.to(model.device)
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or choose_path(model, batch) != "trunk":
        return False
    try:
        ours = squared_norms(model, batch, scope)
    except (NotCoveredError, RuntimeError, TypeError, AttributeError, IndexError):
        return False
    return bool(torch.allclose(ours, squared_norms_alone(model, batch, scope), rtol=2 * SAME))
