"""Projected gradients of many rows from one backward pass, against the formula on each row's own gradient."""

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad
from torch.nn.functional import cross_entropy

from s2l.scoring import projected as module
from s2l.scoring.batching import collate
from s2l.scoring.projected import Sketch, projected_gradients
from toy_models import ARCHITECTURES, toy_model, toy_tokens

TOKENS = toy_tokens(9)
ALL = np.arange(len(TOKENS))
CPU = torch.device("cpu")
SEEDS = 1500


def gradient_of_row(model, row):
    """By torch.func: the gradient of the row's mean response loss by every parameter."""
    batch = collate(TOKENS, np.array([row]))

    def loss(parameters):
        logits = functional_call(model, parameters, kwargs={"input_ids": batch.input_ids_BL, "use_cache": False}).logits
        return cross_entropy(logits[0][batch.position_R], batch.target_R)

    return grad(loss)({name: parameter.detach() for name, parameter in model.named_parameters()})


def signs(sketch, name, side, length):
    return torch.cat([part for _, part in sketch.signs(name, side, length, CPU)])


def by_formula(sketch, gradients):
    """p_kᵀ G q_k, and p_k·g, with all of the random signs at once."""
    total = 0
    for name, gradient in gradients.items():
        if gradient.dim() < 2:
            total += gradient.reshape(-1) @ signs(sketch, name, 0, gradient.numel())
        else:
            left, right = (signs(sketch, name, side, gradient.shape[side]) for side in (0, 1))
            total += torch.einsum("mk,mn,nk->k", left, gradient, right)
    return (total / sketch.dimensions**0.5).numpy()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_tokens", [1, 60, 10**6])
def test_projections_are_the_formula_on_the_rows_own_gradients(architecture, batch_tokens):
    model, sketch = toy_model(architecture), Sketch(0, 64)
    expected = np.stack([by_formula(sketch, gradient_of_row(model, row)) for row in ALL])
    found = projected_gradients(model, TOKENS, ALL, sketch, batch_tokens)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("architecture", ["builtin", "llama-tied"])
def test_signs_made_in_blocks_are_those_of_one_row_at_a_time(architecture, monkeypatch):
    monkeypatch.setattr(module, "SIGNS_AT_ONCE", 64 * 7)
    model, sketch = toy_model(architecture), Sketch(3, 64)
    expected = np.stack([by_formula(sketch, gradient_of_row(model, row)) for row in ALL])
    found = projected_gradients(model, TOKENS, ALL, sketch, 10**6)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("architecture", ["builtin", "llama-tied", "qwen3"])
def test_what_is_covered_takes_one_pass_for_many_rows(architecture, monkeypatch):
    alone, calls = module.projected_alone, []
    monkeypatch.setattr(module, "projected_alone", lambda *args, **how: calls.append(1) or alone(*args, **how))
    projected_gradients(toy_model(architecture), TOKENS, ALL, Sketch(0, 64), 10**6)
    assert len(calls) == 1, "the check alone"


def products(g, h, dimensions=64):
    """g·h as many sketches have it: of a matrix and a vector each."""
    found = []
    for seed in range(SEEDS):
        sketch = Sketch(seed, dimensions)
        of_g, of_h = (sketch.of("w", matrix) + sketch.of("b", vector) for matrix, vector in (g, h))
        found.append(float(of_g @ of_h) / dimensions)
    return np.array(found)


def pair(kind):
    generator = torch.Generator().manual_seed(5)
    (a, b, d), (u, v) = torch.randn(3, 6, generator=generator), torch.randn(2, 7, generator=generator)
    if kind == "full rank":
        return [(torch.randn(6, 6, generator=generator), vector) for vector in (u, v)]
    if kind == "rank one":
        return [(torch.outer(a, b), 0 * u), (torch.outer(a, d), 0 * v)]
    return [(torch.outer(a, b), 0 * u), (torch.outer(a, b), 0 * u)]


@pytest.mark.parametrize("kind", ["full rank", "rank one", "the same"])
def test_products_are_unbiased_and_err_no_more_than_is_said(kind):
    g, h = pair(kind)
    norm_g, norm_h = (sum(float(part.square().sum()) for part in parts) for parts in (g, h))
    product = sum(float((a * b).sum()) for a, b in zip(g, h, strict=True))
    found = products(g, h)
    assert abs(found.mean() - product) < 4 * found.std() / SEEDS**0.5
    (G, _), (H, _) = g, h
    traces = [torch.trace(m) for m in (G.T @ G @ H.T @ H, G @ G.T @ H @ H.T, G.T @ H @ G.T @ H)]
    bound = (norm_g * norm_h + product**2 + 2 * float(sum(traces))) / 64
    assert found.var() < 1.15 * bound
    assert bound <= norm_g * norm_h * Sketch(0, 64).errors[1] ** 2 * (1 + 1e-4)


def test_cosines_of_rows_are_kept_within_the_stated_error():
    model, sketch = toy_model(), Sketch(0, 1024)
    exact = np.stack(
        [torch.cat([g.reshape(-1) for g in gradient_of_row(model, row).values()]).numpy() for row in ALL]
    ).astype(np.float64)
    kept = projected_gradients(model, TOKENS, ALL, sketch, 10**6).astype(np.float64)
    exact, kept = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (exact, kept))
    off = np.abs(exact @ exact.T - kept @ kept.T)
    assert off.max() < 4 * sketch.errors[1]
    assert np.sqrt(np.square(off).mean()) < 2 * sketch.errors[0]


def test_another_seed_gives_another_projection():
    model = toy_model()
    first, second = (projected_gradients(model, TOKENS, ALL[:2], Sketch(seed, 64), 10**6) for seed in (0, 1))
    assert np.abs(first - second).max() > 0.1 * np.abs(first).max()
