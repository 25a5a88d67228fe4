"""Embeddings of rows, against a row at a time by the formula."""

import numpy as np
import pytest
import torch

from s2l.scoring.embed import embed
from s2l.scoring.represent import response_alone
from toy_models import ARCHITECTURES, toy_model, toy_tokens

TOKENS = toy_tokens(9)
ALL = np.arange(len(TOKENS))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("pooling", ["response", "position"])
@torch.no_grad()
def test_embeddings_are_means_of_the_rows_own_states(architecture: str, pooling: str) -> None:
    model = toy_model(architecture).eval()
    found = embed(model, TOKENS, ALL, pooling, 100)
    for row in ALL:
        span = slice(TOKENS.start_N[row], TOKENS.start_N[row + 1])
        ids = torch.from_numpy(TOKENS.input_ids[span].astype(np.int64))[None]
        states = model.base_model(input_ids=ids).last_hidden_state[0].numpy()
        if pooling == "response":
            expected = states[np.flatnonzero(TOKENS.counted[span]) - 1].mean(axis=0)
        else:
            weights = np.arange(1, len(states) + 1)
            expected = (states * weights[:, None]).sum(axis=0) / weights.sum()
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)


def test_a_response_alone_is_its_tokens_behind_the_beginning() -> None:
    alone = response_alone(TOKENS, begin=7)
    for row in ALL:
        was, now = (slice(*tokens.start_N[row : row + 2]) for tokens in (TOKENS, alone))
        response = TOKENS.input_ids[was][TOKENS.counted[was]]
        assert alone.input_ids[now].tolist() == [7, *response.tolist()]
        assert alone.counted[now].tolist() == [False] + [True] * len(response)
