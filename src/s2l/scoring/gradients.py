"""The norm of every row's own gradient, many rows in one backward pass.

No weight's gradient is made: of a linear layer with inputs a and output gradients g, ‖Σ_l g_l a_lᵀ‖² is the sum of the
products of two Gram matrices, or is taken directly where that is less work (Goodfellow 2015, arXiv 1510.01799; Li et
al. 2021, arXiv 2110.05679).
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.progress import Advance
from s2l.scoring.batching import Batch
from s2l.scoring.flow import Kind, by_shared_pass, flow, multiplied, over_positions, own_gradients, without_padding
from s2l.types import Tokens

Scope = Literal["all", "head"]


def gradient_norms(
    model: PreTrainedModel,
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    scope: Scope,
    batch_tokens: int,
    workers: int = 1,
    advance: Advance = lambda _tokens: None,
) -> Float[np.ndarray, " n"]:
    """GraNd: ‖∇ of the row's mean response loss‖₂ in eval mode, over all parameters or those of the head alone.

    workers: as `Scorer`'s. The shortest row and the median one are checked against backward passes of their own; a
    model with a parameter that the shared pass does not cover takes one backward pass for each row.
    """
    shared = partial(squared_norms, model, scope=scope)
    alone = partial(squared_norms_alone, model, scope=scope)
    squared_n = by_shared_pass(model, tokens, rows, shared, alone, batch_tokens, workers, advance)
    norms_n: Float[np.ndarray, " n"] = np.sqrt(np.maximum(squared_n, 0))
    return norms_n


def squared_norms_alone(model: PreTrainedModel, batch: Batch, scope: Scope) -> Float[torch.Tensor, " B"]:
    """The naive formula: one backward pass for each row.

    scope `head`: of the head as it is used on the trunk's states; what a tied weight gets as an embedding is left out.
    """
    wanted = list(model.parameters() if scope == "all" else model.get_output_embeddings().parameters())
    squared = [
        sum(gradient.double().square().sum() for gradient in gradients if gradient is not None)
        for gradients in own_gradients(model, batch, wanted, head_alone=scope == "head")
    ]
    return torch.stack([torch.as_tensor(value) for value in squared])


def squared_norms(model: PreTrainedModel, batch: Batch, scope: Scope) -> Float[torch.Tensor, " B"]:
    """The same from one pass for all rows; raises NotCoveredError for a module that it has no rule for."""
    head = model.get_output_embeddings()
    squares = Squares(batch, head.weight)
    at_head = flow(model, batch, squares.see if scope == "all" else None)
    squared_B = squares.squared_B
    starts = np.concatenate([[0], np.cumsum(batch.count_B)])
    for row, (start, stop) in enumerate(pairwise(starts.tolist())):
        states_rD, excess_rV = at_head.states_RD[start:stop], at_head.excess_RV[start:stop]
        squared_B[row] += linear_squared(states_rD[None], excess_rV[None])[0]
        if head.bias is not None:
            squared_B[row] += excess_rV.sum(dim=0).square().sum()
        if squares.tied is not None:
            token_u, sum_uD = squares.tied.of_row(row)
            squared_B[row] += 2 * (excess_rV[:, token_u] * (states_rD @ sum_uD.t())).sum()
    return squared_B


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
        vocabulary = int(ids_BL.max()) + 1
        code_BL = ids_BL + torch.arange(len(ids_BL), device=ids_BL.device)[:, None] * vocabulary
        code_U, at = torch.unique(code_BL.flatten(), return_inverse=True)
        self.row_U, self.token_U = code_U // vocabulary, code_U % vocabulary
        self.sum_UD = gradients_BLD.new_zeros(len(code_U), gradients_BLD.shape[2])
        self.sum_UD.index_add_(0, at, gradients_BLD.flatten(0, 1))

    def of_row(self, row: int) -> tuple[Int[torch.Tensor, " u"], Float[torch.Tensor, "u D"]]:
        """The tokens of one row, and their sums."""
        own_U = self.row_U == row
        return self.token_U[own_U], self.sum_UD[own_U]


class Squares:
    """Adds up ‖gradient‖² of every row and every parameter but the head's, while a backward pass goes by.

    tied: the sums of an embedding that is also the head's weight, for the cross term of the two.
    """

    def __init__(self, batch: Batch, head_weight: torch.Tensor) -> None:
        self.head_weight = head_weight
        self.squared_B = torch.zeros(len(batch.rows_B), dtype=torch.float64, device=batch.target_R.device)
        self.tied: TokenSums | None = None

    def see(self, module: torch.nn.Module, kind: Kind, given: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add a module's own parameters."""
        bias = getattr(module, "bias", None)
        match kind:
            case "linear":
                self.squared_B += linear_squared(given, gradient)
            case "norm":
                self._add(over_positions(gradient * multiplied(module, given)))
            case "embedding":
                assert isinstance(module, torch.nn.Embedding)
                sums = TokenSums(given, without_padding(module, given, gradient))
                squared_U = sums.sum_UD.square().sum(dim=1, dtype=torch.float64)
                self.squared_B.index_add_(0, sums.row_U, squared_U)
                if module.weight is self.head_weight:
                    self.tied = sums
        if bias is not None:
            self._add(over_positions(gradient))

    def _add(self, gradient_BD: Float[torch.Tensor, "B D"]) -> None:
        self.squared_B += gradient_BD.square().sum(dim=1, dtype=torch.float64)
