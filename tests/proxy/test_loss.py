"""The loss and its gradients in one pass over chunks, against autograd on all logits at once."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from s2l.proxy import loss
from s2l.proxy.loss import backward, head_backward
from s2l.scoring.batching import collate
from s2l.scoring.forward import choose_path
from toy_models import ARCHITECTURES, toy_model, toy_tokens

TOKENS = toy_tokens(9)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 64, 150])
@pytest.mark.parametrize("height", [1.0, 100.0])
def test_the_heads_gradients_are_autograds(bias: bool, rows: int, height: float, monkeypatch) -> None:
    monkeypatch.setattr(loss, "CHUNK_ELEMENTS", 1)  # 64 rows a chunk
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(8, 50, bias=bias)
    states_RD = (torch.randn(rows, 8, generator=generator) * height).requires_grad_()
    target_R = torch.randint(0, 50, (rows,), generator=generator)
    expected = cross_entropy(head(states_RD), target_R, reduction="sum") * 0.01
    expected.backward()
    gradients = [parameter.grad for parameter in head.parameters()]
    for parameter in head.parameters():
        parameter.grad = torch.ones_like(parameter)  # they are added to what is there

    got, grad_RD = head_backward(states_RD.detach(), head, target_R, 0.01, torch.float32)

    torch.testing.assert_close(got, expected.detach())
    torch.testing.assert_close(grad_RD, states_RD.grad, atol=1e-6, rtol=1e-4)
    for parameter, gradient in zip(head.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad - 1, gradient, atol=1e-5 * height, rtol=1e-4)


def test_every_token_may_have_a_scale_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(8, 50)
    states_RD = torch.randn(150, 8, generator=generator).requires_grad_()
    target_R = torch.randint(0, 50, (150,), generator=generator)
    scale_R = torch.rand(150, generator=generator)
    expected = cross_entropy(head(states_RD), target_R, reduction="none") @ scale_R
    expected.backward()
    gradients = [parameter.grad for parameter in head.parameters()]
    head.zero_grad()
    got, grad_RD = head_backward(states_RD.detach(), head, target_R, scale_R, torch.float32)
    torch.testing.assert_close(got, expected.detach())
    torch.testing.assert_close(grad_RD, states_RD.grad, atol=1e-6, rtol=1e-4)
    for parameter, gradient in zip(head.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)


def test_a_certain_head_has_a_finite_loss_and_gradient() -> None:
    head = torch.nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1e4, 0.0], [-1e4, 0.0], [0.0, 0.0]]))
    for target, expected in ((0, 0.0), (1, 2e4)):
        got, grad_RD = head_backward(torch.tensor([[1.0, 0.0]]), head, torch.tensor([target]), 1.0, torch.float32)
        assert got.item() == expected
        assert grad_RD.isfinite().all()
        assert (grad_RD == 0).all() == (target == 0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_batch_gives_the_models_own_loss_and_gradients(architecture: str) -> None:
    ours, theirs = toy_model(architecture), toy_model(architecture)
    batch = collate(TOKENS, np.arange(9))
    got = backward(ours, batch, choose_path(ours, batch), 1 / len(batch.target_R), "float32")
    labels = torch.full_like(batch.input_ids_BL, -100)
    labels.view(-1)[batch.position_R + 1] = batch.target_R
    expected = theirs(input_ids=batch.input_ids_BL, labels=labels).loss
    expected.backward()
    torch.testing.assert_close(got, expected.detach(), atol=1e-6, rtol=1e-6)
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, atol=1e-6, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


def test_bfloat16_products_give_nearly_the_same_gradients() -> None:
    exact, rounded = toy_model(), toy_model()
    batch = collate(TOKENS, np.arange(9))
    losses = [backward(m, batch, "trunk", 0.01, p) for m, p in ((exact, "float32"), (rounded, "bfloat16"))]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.01)
    for own, other in zip(exact.parameters(), rounded.parameters(), strict=True):
        assert other.grad.dtype == torch.float32
        assert (own.grad - other.grad).norm() <= 0.05 * own.grad.norm() + 1e-6
