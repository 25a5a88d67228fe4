"""The last MLP at the positions that are read: the same states and gradients as from all of them, and less work."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from s2l.forecast.flops import amount_of, forward, shape_of
from s2l.proxy.workers import view_of
from s2l.scoring.batching import collate
from s2l.scoring.trunk import last_mlp, trunk_states
from toy_models import ARCHITECTURES, toy_model, toy_tokens

TOKENS = toy_tokens(12)
BATCH = collate(TOKENS, np.arange(12))


def states_of_all(model, batch=BATCH):
    return model.base_model(input_ids=batch.input_ids_BL, use_cache=False).last_hidden_state.flatten(0, 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_and_gradients_are_those_of_the_whole_trunk(architecture: str) -> None:
    model = toy_model(architecture)
    assert last_mlp(model) is not None
    expected_RD = states_of_all(model)[BATCH.position_R]
    weight_RD = torch.randn(expected_RD.shape, generator=torch.Generator().manual_seed(0))
    (expected_RD * weight_RD).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    states_RD = trunk_states(model, BATCH)
    (states_RD * weight_RD).sum().backward()
    torch.testing.assert_close(states_RD, expected_RD, atol=1e-5, rtol=1e-5)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-4, rtol=1e-4)


def test_the_mlp_sees_no_more_positions_than_are_read_and_the_model_is_itself_afterwards() -> None:
    model = toy_model()
    before = states_of_all(model)
    seen = []
    last_mlp(model).dense_h_to_4h.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0].shape[:-1]))
    trunk_states(model, BATCH)
    assert torch.equal(states_of_all(model), before)
    assert seen == [(1, len(BATCH.position_R)), tuple(BATCH.input_ids_BL.shape)]


def test_threads_that_share_a_model_each_get_the_states_of_their_own_batch() -> None:
    model = toy_model()
    batches = [collate(TOKENS, np.array([row, (row + 5) % 12])) for row in range(12)] * 4
    with torch.no_grad():
        expected = [states_of_all(model, batch)[batch.position_R] for batch in batches]
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda batch: _without_gradient(model, batch), batches))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert len(last_mlp(model)._forward_hooks) == 1


def test_a_view_made_after_the_first_pass_has_gradients_of_its_own() -> None:
    model = toy_model()
    trunk_states(model, BATCH)
    view = view_of(model)
    trunk_states(view, BATCH).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert last_mlp(view).dense_h_to_4h.weight.grad is not None


def test_layers_that_name_it_otherwise_have_none() -> None:
    model = toy_model()
    model.base_model.layers[-1].feed_forward = model.base_model.layers[-1].mlp
    del model.base_model.layers[-1].mlp
    assert last_mlp(model) is None


def test_needed_work_is_what_torch_counts() -> None:
    model = toy_model("llama-tied")
    model.config._attn_implementation = "eager"
    one = toy_tokens(1)
    batch = collate(one, np.arange(1))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.get_output_embeddings()(trunk_states(model, batch))
    squares = replace(amount_of(one), pairs=len(one.input_ids) ** 2)
    assert forward(shape_of(model), squares) == pytest.approx(counter.get_total_flops(), rel=0.05)


def _without_gradient(model, batch) -> torch.Tensor:
    with torch.no_grad():
        return trunk_states(model, batch)
