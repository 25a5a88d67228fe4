"""FLOPs against a count by hand, and against what torch itself counts."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from s2l.forecast.flops import Amount, Shape, amount_of, forward, shape_of, training
from toy_models import ARCHITECTURES, toy_model, toy_tokens


def test_amounts_are_those_of_the_rows() -> None:
    tokens = toy_tokens(rows=5, longest=6)
    pairs = sum(1 + at for length in tokens.lengths for at in range(length))
    assert amount_of(tokens) == Amount(5, int(tokens.lengths.sum()), int(tokens.response_lengths.sum()), pairs)


def test_flops_by_hand() -> None:
    shape = Shape(trunk=1000, last_mlp=400, head=50, layers=2, attention_width=8)
    amount = Amount(rows=1, tokens=4, response_tokens=3, pairs=10)
    assert forward(shape, amount) == 2 * 600 * 4 + 2 * (400 + 50) * 3 + 4 * 2 * 8 * 10
    assert training(shape, amount) == 3 * forward(shape, amount)


def test_the_shape_of_the_builtin_proxy_by_hand() -> None:
    width, layers, vocabulary = 64, 2, 320
    layer = 3 * width * width + width * width + 2 * 4 * width * width  # qkv, out, both of the MLP
    biases_and_norms = (3 + 1 + 4 + 1) * width + 2 * 2 * width
    trunk = layers * (layer + biases_and_norms) + 2 * width
    last_mlp = 2 * 4 * width * width + (4 + 1) * width
    assert shape_of(toy_model()) == Shape(trunk, last_mlp, width * vocabulary, layers, width)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_matrix_products_are_as_many_as_torch_counts(architecture: str) -> None:
    model, length = toy_model(architecture), 16
    model.config._attn_implementation = "eager"
    ids = torch.from_numpy(np.arange(1, length + 1))[None]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False)
    whole_square = Amount(1, length, length, length * length)
    assert forward(shape_of(model), whole_square) == pytest.approx(counter.get_total_flops(), rel=0.03)
