"""Greedy outputs: the token by token argmax of each prompt alone, whatever its neighbours, end tokens and window."""

import numpy as np
import pytest
import torch

from s2l.target.generate import batches, generate, until_end
from toy_models import VOCABULARY, WINDOW, toy_model

MOST = 9


def naive(model, prompt, most, ends, window):
    """Argmax of the whole model over the whole text, a token at a time, without cache or padding."""
    ids = prompt.tolist()
    while len(ids) < min(len(prompt) + most, window):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in ends:
            return tuple(ids[len(prompt) : -1]), True
    return tuple(ids[len(prompt) :]), False


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(0)
    return [rng.integers(1, VOCABULARY, length) for length in (5, 12, 3, 44, 5, 47, 30, 1)]


@pytest.mark.parametrize("architecture", ["builtin", "llama-tied", "qwen3", "gpt2"])
def test_outputs_are_the_naive_ones(architecture, prompts):
    model = toy_model(architecture)
    free = [naive(model, prompt, MOST, (), WINDOW)[0] for prompt in prompts]
    ends = (free[0][4], free[1][2])
    expected = [naive(model, prompt, MOST, ends, WINDOW) for prompt in prompts]
    assert any(ended for _, ended in expected)
    assert not all(ended for _, ended in expected)
    for batch_tokens, workers in ((10_000, 1), (50, 2), (1, 1)):
        outputs = generate(model, prompts, MOST, ends=ends, window=WINDOW, batch_tokens=batch_tokens, workers=workers)
        assert [(output.ids, output.ended) for output in outputs] == expected
        assert all(output.read for output in outputs)


def test_a_prompt_that_fills_the_window_is_not_read(prompts):
    full = np.ones(WINDOW, dtype=np.int64)
    seen = []
    outputs = generate(
        toy_model(), [full, prompts[0]], 2, ends=(0,), window=WINDOW, batch_tokens=100, advance=seen.append
    )
    assert (outputs[0].ids, outputs[0].ended, outputs[0].read) == ((), False, False)
    assert outputs[1].read
    assert sum(seen) == 2


def test_the_models_own_settings_of_generation_are_left_alone(prompts):
    model = toy_model()
    model.generation_config.repetition_penalty = 5.0
    before = model.generation_config
    outputs = generate(model, prompts[:1], MOST, ends=(), window=WINDOW, batch_tokens=100)
    assert model.generation_config is before
    model.generation_config.repetition_penalty = 1.0
    assert outputs[0].ids == naive(model, prompts[0], MOST, (), WINDOW)[0]


def test_batches_hold_every_row_once_and_what_was_allowed():
    lengths = [3, 60, 10, 99, 100, 10]
    found = list(batches(lengths, 20, 100, 64))
    assert sorted(row for members, _ in found for row in members) == [0, 1, 2, 3, 5]
    for members, room in found:
        assert {min(20, 100 - lengths[row]) for row in members} == {room}
        assert len(members) == 1 or len(members) * (max(lengths[row] for row in members) + room) <= 64


def test_what_is_behind_an_end_token_is_not_part_of_the_output():
    assert until_end([5, 6, 0, 7], (0,)).ids == (5, 6)
    assert until_end([5, 6], (0,)) == until_end([5, 6], ())
