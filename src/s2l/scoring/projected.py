"""The gradient of every row's mean response loss as a few numbers: a random linear map that keeps inner products.

Of a weight matrix whose gradient is G = Σ_l g_l a_lᵀ, coordinate k is p_kᵀ G q_k = Σ_l (p_k·g_l)(q_k·a_l), with p_k and
q_k of independent random signs: neither G nor a matrix of P × D is ever made (tensorised random projections: Sun et al.
2018, arXiv 2105.00105; Rakhshan & Rabusseau 2020, arXiv 2003.05101; a gradient's factors apart as in LoGra, Choe et al.
2024, arXiv 2405.13954). A vector's coordinate is p_k·g. The coordinates of all parameters add up, over √D.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from math import sqrt

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.progress import Advance
from s2l.scoring.batching import Batch
from s2l.scoring.flow import Kind, by_shared_pass, flow, multiplied, over_positions, own_gradients, without_padding
from s2l.types import Tokens

SIGNS_AT_ONCE = 2**22
WORD = 64
"""Signs of one random number."""


@dataclass(frozen=True)
class Sketch:
    """A random linear map of a model's gradient to D numbers (a multiple of 64), keyed by (seed, parameter, side).

    Unbiased for inner products. That of two gradients errs with a variance of at most 1 / D times ‖g‖²‖h‖² + (g·h)², as
    of any random signs (Achlioptas 2003), and 2 (tr GᵀGHᵀH + tr GGᵀHHᵀ + tr GᵀHGᵀH) of every weight matrix: little
    where many matrices of many directions share the gradient, 6 ‖g‖²‖h‖² if one matrix of rank one is all of it.
    """

    seed: int
    dimensions: int

    @property
    def errors(self) -> tuple[float, float]:
        """Standard error of the product of two unit gradients: of those that are spread out and orthogonal; at most."""
        return sqrt(1 / self.dimensions), sqrt(8 / self.dimensions)

    def signs(
        self, name: str, side: int, length: int, device: torch.device
    ) -> Iterator[tuple[slice, Float[torch.Tensor, "n D"]]]:
        """±1 for each of the `length` entries along a side of the parameter, a block of entries at a time."""
        step = SIGNS_AT_ONCE // self.dimensions
        for start in range(0, length, step):
            n = min(step, length - start)
            key = blake2b(f"{self.seed}\0sketch\0{name}\0{side}\0{start}".encode(), digest_size=16).digest()
            words = np.random.Philox(key=int.from_bytes(key)).random_raw(n * self.dimensions // WORD)
            bits = torch.from_numpy(np.unpackbits(words.astype("<u8").view(np.uint8))).to(device)
            yield slice(start, start + n), bits.view(n, self.dimensions).float().mul_(2).sub_(1)

    def along(self, name: str, side: int, values: Float[torch.Tensor, "*rows n"]) -> Float[torch.Tensor, "*rows D"]:
        """The values' products with the signs of the side that they run along."""
        total = values.new_zeros(*values.shape[:-1], self.dimensions)
        for part, signs_nD in self.signs(name, side, values.shape[-1], values.device):
            total += values[..., part] @ signs_nD
        return total

    def picked(
        self, name: str, side: int, length: int, index_BL: Int[torch.Tensor, "B L"]
    ) -> Float[torch.Tensor, "B L D"]:
        """The signs of single entries of a side of `length` entries."""
        picked_BLD = torch.empty(*index_BL.shape, self.dimensions, device=index_BL.device)
        for part, signs_nD in self.signs(name, side, length, index_BL.device):
            here_BL = (index_BL >= part.start) & (index_BL < part.stop)
            picked_BLD[here_BL] = signs_nD[index_BL[here_BL] - part.start]
        return picked_BLD

    def of(self, name: str, gradient: torch.Tensor) -> Float[torch.Tensor, " D"]:
        """The sketch of one parameter's gradient, √D times too large; what has more than two sides is a matrix too."""
        if gradient.dim() < 2:
            return self.along(name, 0, gradient.reshape(1, -1))[0]
        matrix_mn = gradient.flatten(0, -2)
        total_D = gradient.new_zeros(self.dimensions)
        for part, signs_mD in self.signs(name, 0, len(matrix_mn), gradient.device):
            total_D += (signs_mD * self.along(name, 1, matrix_mn[part])).sum(dim=0)
        return total_D


def projected_gradients(
    model: PreTrainedModel,
    tokens: Tokens,
    rows: Int[np.ndarray, " n"],
    sketch: Sketch,
    batch_tokens: int,
    workers: int = 1,
    advance: Advance = lambda _tokens: None,
) -> Float[np.ndarray, "n D"]:
    """Sketches of ∇ of the rows' mean response losses by all parameters, in eval mode, float32.

    workers: as `Scorer`'s. The shortest row and the median one are checked against backward passes of their own; a
    model with a parameter that the shared pass does not cover takes one backward pass for each row.
    """
    shared = partial(projected, model, sketch=sketch)
    alone = partial(projected_alone, model, sketch=sketch)
    return by_shared_pass(model, tokens, rows, shared, alone, batch_tokens, workers, advance)


def projected_alone(model: PreTrainedModel, batch: Batch, sketch: Sketch) -> Float[torch.Tensor, "B D"]:
    """The naive formula: one backward pass for each row, its whole gradient sketched."""
    names, wanted = zip(*model.named_parameters(), strict=True)
    sketches = []
    for gradients in own_gradients(model, batch, wanted):
        total_D = torch.zeros(sketch.dimensions, device=batch.target_R.device)
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is not None:
                total_D += sketch.of(name, gradient)
        sketches.append(total_D / sqrt(sketch.dimensions))
    return torch.stack(sketches)


def projected(model: PreTrainedModel, batch: Batch, sketch: Sketch) -> Float[torch.Tensor, "B D"]:
    """The same from one pass for all rows; raises NotCoveredError for a module that it has no rule for."""
    head = model.get_output_embeddings()
    sums = Projections(model, batch, sketch)
    at_head = flow(model, batch, sums.see)
    weight = sums.names[id(head.weight)]
    along_RD = sketch.along(weight, 0, at_head.excess_RV) * sketch.along(weight, 1, at_head.states_RD)
    if head.bias is not None:
        along_RD += sketch.along(sums.names[id(head.bias)], 0, at_head.excess_RV)
    return sums.total_BD.index_add_(0, at_head.row_R, along_RD) / sqrt(sketch.dimensions)


class Projections:
    """Adds up the sketches of every row's gradient by every parameter but the head's, while a backward pass goes by.

    names: of the parameters, by identity; a weight that is used twice has one name, so that its two parts add up.
    """

    def __init__(self, model: PreTrainedModel, batch: Batch, sketch: Sketch) -> None:
        self.sketch = sketch
        self.names = {id(own): name for name, own in model.named_parameters()}
        self.total_BD = torch.zeros(len(batch.rows_B), sketch.dimensions, device=batch.target_R.device)

    def see(self, module: torch.nn.Module, kind: Kind, given: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add a module's own parameters."""
        weight, bias = self.names[id(module.weight)], getattr(module, "bias", None)
        sketch = self.sketch
        match kind:
            case "linear":
                inputs = 1 if isinstance(module, torch.nn.Linear) else 0  # Conv1D keeps its weight transposed
                self._add(sketch.along(weight, inputs, given) * sketch.along(weight, 1 - inputs, gradient))
            case "norm":
                self.total_BD += sketch.along(weight, 0, over_positions(gradient * multiplied(module, given)))
            case "embedding":
                assert isinstance(module, torch.nn.Embedding)
                gradient_BLD = without_padding(module, given, gradient)
                self._add(
                    sketch.picked(weight, 0, module.num_embeddings, given) * sketch.along(weight, 1, gradient_BLD)
                )
        if bias is not None:
            self.total_BD += sketch.along(self.names[id(bias)], 0, over_positions(gradient))

    def _add(self, along_BLD: Float[torch.Tensor, "B L D"]) -> None:
        self.total_BD += along_BLD.sum(dim=1)
