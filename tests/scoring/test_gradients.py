"""The norms of many rows' gradients from one backward pass, against per-row gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from s2l.scoring import gradients
from s2l.scoring.batching import collate
from s2l.scoring.flow import NotCoveredError, watched
from s2l.scoring.gradients import gradient_norms, linear_squared, squared_norms
from s2l.types import Tokens
from toy_models import ARCHITECTURES, toy_model, toy_tokens

TOKENS = toy_tokens(9)
ALL = np.arange(len(TOKENS))
COVERED = {"builtin", "llama-tied", "qwen3"}


def norm_of_row(model: PreTrainedModel, row: int, tokens: Tokens = TOKENS) -> float:
    """By torch.func: the gradient of the row's mean response loss by every parameter."""
    batch = collate(tokens, np.array([row]))
    own = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        logits = functional_call(model, parameters, kwargs={"input_ids": batch.input_ids_BL, "use_cache": False}).logits
        return cross_entropy(logits[0][batch.position_R], batch.target_R)

    return float(sum(g.double().square().sum() for g in grad(loss)(own).values()) ** 0.5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_tokens", [1, 60, 10**6])
def test_norms_are_those_of_the_rows_own_gradients(architecture: str, batch_tokens: int) -> None:
    model = toy_model(architecture).eval()
    expected = [norm_of_row(model, row) for row in ALL]
    found = gradient_norms(model, TOKENS, ALL, "all", batch_tokens)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("architecture", sorted(COVERED))
def test_norms_do_not_hang_on_the_number_of_workers(architecture: str) -> None:
    model = toy_model(architecture)
    one, three = (gradient_norms(model, TOKENS, ALL, "all", 60, workers) for workers in (1, 3))
    assert np.array_equal(one, three)


def test_a_model_that_is_not_watched_is_refused() -> None:
    with pytest.raises(AssertionError, match="not watched"):
        squared_norms(toy_model(), collate(TOKENS, ALL), "all")


def test_a_padding_token_in_a_row_leaves_its_embedding_alone() -> None:
    model = toy_model("llama-tied")
    assert model.get_input_embeddings().padding_idx == 0
    tokens = replace(TOKENS, input_ids=TOKENS.input_ids * (TOKENS.input_ids % 3 > 0))
    expected = [norm_of_row(model, row, tokens) for row in ALL]
    np.testing.assert_allclose(gradient_norms(model, tokens, ALL, "all", 10**6), expected, rtol=1e-4)


def test_a_model_that_needs_no_gradients_is_left_so() -> None:
    model = toy_model()
    bias = model.base_model.final_layer_norm.bias.requires_grad_(False)
    with watched(model):
        squared_norms(model, collate(TOKENS, ALL), "all")
    assert [own for own in model.parameters() if not own.requires_grad] == [bias]


@pytest.mark.parametrize("architecture", ["builtin", "llama-tied"])
def test_norms_of_the_head_leave_out_what_a_tied_embedding_gets(architecture: str) -> None:
    model = toy_model(architecture).eval()
    head = model.get_output_embeddings()
    expected = []
    for row in ALL:
        batch = collate(TOKENS, ALL[[row]])
        states = model.base_model(input_ids=batch.input_ids_BL).last_hidden_state[0][batch.position_R].detach()
        weight = head.weight.detach().clone().requires_grad_()
        cross_entropy(states @ weight.t(), batch.target_R).backward()
        expected.append(float(weight.grad.norm()))
    np.testing.assert_allclose(gradient_norms(model, TOKENS, ALL, "head", 100), expected, rtol=1e-4)


def test_both_ways_of_a_linear_layer_are_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for length, inputs, outputs in ((3, 40, 50), (200, 4, 5), (1, 1, 1)):
        a, g = (torch.randn(4, length, width, generator=generator) for width in (inputs, outputs))
        expected = [(g[row].t() @ a[row]).square().sum().item() for row in range(4)]
        np.testing.assert_allclose(linear_squared(a, g).numpy(), expected, rtol=1e-4)


def test_a_parameter_without_a_rule_is_not_covered_and_its_rows_are_scored_alone(monkeypatch) -> None:
    class Shift(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner, self.by = inner, torch.nn.Parameter(torch.full((), 0.5))

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.inner(hidden) + self.by

    model = toy_model().eval()
    model.base_model.final_layer_norm = Shift(model.base_model.final_layer_norm)
    with watched(model), pytest.raises(NotCoveredError):
        squared_norms(model, collate(TOKENS, ALL[:2]), "all")
    calls = []
    alone = gradients.squared_norms_alone
    monkeypatch.setattr(
        gradients, "squared_norms_alone", lambda *args, **scope: calls.append(1) or alone(*args, **scope)
    )
    expected = [norm_of_row(model, row) for row in ALL]
    np.testing.assert_allclose(gradient_norms(model, TOKENS, ALL, "all", 10**6), expected, rtol=1e-4)
    assert len(calls) == len(ALL)


@pytest.mark.parametrize("architecture", sorted(COVERED))
def test_what_is_covered_takes_one_pass_for_many_rows(architecture: str, monkeypatch) -> None:
    passes = []
    alone = gradients.squared_norms_alone
    monkeypatch.setattr(
        gradients, "squared_norms_alone", lambda *args, **scope: passes.append(1) or alone(*args, **scope)
    )
    gradient_norms(toy_model(architecture), TOKENS, ALL, "all", 10**6)
    assert len(passes) == 1, "the check of the first two rows alone"
