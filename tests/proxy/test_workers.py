"""Views of a model side by side: the same weights, own gradients, one sum."""

from dataclasses import replace

import pytest
import torch

from s2l.config import ProxySettings
from s2l.proxy.plan import make_plan
from s2l.proxy.ranks import ALONE
from s2l.proxy.step import Stepper
from s2l.proxy.workers import draws, view_of, workers_for
from toy_models import toy_model, toy_tokens

TOKENS = toy_tokens(24)
PLAN = make_plan(24, ProxySettings(model="builtin"), batch_tokens=100, threads=3, device="cpu", seed=0)


def gradients(architecture: str, workers: int) -> tuple[float, list[torch.Tensor]]:
    model = toy_model(architecture)
    stepper = Stepper(model, TOKENS, replace(PLAN, workers=workers), ALONE)
    loss = stepper.lead(0, 100).item()
    stepper.close()
    return loss, [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("architecture", ["builtin", "llama-tied", "gemma2-soft-capped"])
def test_the_number_of_workers_changes_only_the_last_bits(architecture: str) -> None:
    loss, alone = gradients(architecture, 1)
    for workers in (2, 3):
        shared_loss, shared = gradients(architecture, workers)
        assert shared_loss == pytest.approx(loss, abs=1e-6)
        for own, other in zip(alone, shared, strict=True):
            torch.testing.assert_close(other, own, atol=1e-6, rtol=1e-4)


def test_the_same_number_of_workers_gives_the_same_bits() -> None:
    _, first = gradients("builtin", 3)
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, gradients("builtin", 3)[1], strict=True))


def test_a_view_has_the_weights_and_not_the_gradients() -> None:
    model = toy_model("llama-tied")
    view = view_of(model)
    assert view.get_output_embeddings().weight is view.get_input_embeddings().weight
    with torch.no_grad():
        model.get_input_embeddings().weight[3] = 7
    assert (view.get_input_embeddings().weight[3] == 7).all()
    view.get_input_embeddings().weight.grad = torch.ones_like(view.get_input_embeddings().weight)
    assert model.get_input_embeddings().weight.grad is None


def test_small_models_without_dropout_have_a_worker_for_each_thread() -> None:
    assert not draws(toy_model())
    assert draws(toy_model("gpt2"))
    assert workers_for(toy_model(), threads=2, batch_size=32) == 2
    assert workers_for(toy_model(), threads=64, batch_size=32) == 4
    assert workers_for(toy_model(), threads=2, batch_size=1) == 1
    assert workers_for(toy_model("gpt2"), threads=2, batch_size=32) == 1
