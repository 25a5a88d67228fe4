"""Floating-point operations of a proxy and of a target, counted from shapes; only work that is needed counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from s2l.scoring.trunk import last_mlp
from s2l.types import Tokens

BACKWARD = 2
"""A backward pass costs two forward passes: gradients of the inputs and of the weights."""


@dataclass(frozen=True)
class Amount:
    """How much text one pass goes over. pairs: of a token with itself and each before it in its row, Σ L(L+1)/2."""

    rows: float
    tokens: float
    response_tokens: float
    pairs: float

    def times(self, factor: float) -> Amount:
        """So many times as much."""
        return Amount(self.rows * factor, self.tokens * factor, self.response_tokens * factor, self.pairs * factor)


@dataclass(frozen=True)
class Shape:
    """What a forward pass multiplies with. trunk: parameters outside embeddings and head. head: weights of the head.

    last_mlp: those of the trunk that run only where a response token is predicted (`scoring/trunk.py`).
    attention_width: heads × dimensions of a head.
    """

    trunk: int
    last_mlp: int
    head: int
    layers: int
    attention_width: int


def amount_of(tokens: Tokens) -> Amount:
    """The amount of one pass over these rows."""
    lengths_N = tokens.lengths.astype(np.float64)
    pairs = float((lengths_N * (lengths_N + 1)).sum() / 2)
    return Amount(len(tokens), int(tokens.start_N[-1]), int(tokens.counted.sum()), pairs)


def shape_of(model: PreTrainedModel) -> Shape:
    """The shape of a dense transformer; of a mixture of experts all experts count, which is too many."""
    config: Any = model.config.get_text_config()
    head = model.get_output_embeddings()
    embedding = {
        id(weight)
        for module in model.modules()
        if isinstance(module, torch.nn.Embedding) or module is head
        for weight in module.parameters(recurse=False)
    }
    trunk = sum(weight.numel() for weight in model.parameters() if id(weight) not in embedding)
    heads = getattr(config, "num_attention_heads", 0)
    dimensions = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0)
    weights = 0 if head is None else head.weight.numel()
    mlp = last_mlp(model)
    read = 0 if mlp is None else sum(weight.numel() for weight in mlp.parameters())
    return Shape(trunk, read, weights, config.num_hidden_layers, heads * dimensions)


def forward(shape: Shape, amount: Amount) -> float:
    """Of one forward pass: 2 a weight and token (last MLP, head: response token), 4 a layer, pair and dimension."""
    trunk = 2 * ((shape.trunk - shape.last_mlp) * amount.tokens + shape.last_mlp * amount.response_tokens)
    head = 2 * shape.head * amount.response_tokens
    attention = 4 * shape.layers * shape.attention_width * amount.pairs
    return trunk + head + attention


def training(shape: Shape, amount: Amount) -> float:
    """Of one forward and backward pass."""
    return (1 + BACKWARD) * forward(shape, amount)
