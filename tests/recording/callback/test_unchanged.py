"""The block leaves random numbers, modules and threads as they were."""

import random

import numpy as np
import torch

from s2l.recording.callback.unchanged import unchanged
from toy_models import toy_model


def states() -> list[object]:
    return [random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist(), torch.get_num_threads()]


def test_random_numbers_are_drawn_as_if_the_block_had_not_run() -> None:
    model, before = toy_model("gpt2"), states()
    with unchanged(model):
        random.random(), np.random.rand(3), torch.rand(3)
        torch.set_num_threads(2)
        assert states() != before
    assert states() == before


def test_every_module_holds_what_it_held_even_after_an_error() -> None:
    model = toy_model("gpt2").train()
    norm = model.transformer.ln_f.eval()
    model.forward = own = lambda **given: None
    hooks = [len(module._forward_hooks) for module in model.modules()]
    try:
        with unchanged(model):
            model.eval()
            del model.forward
            norm.cached = torch.ones(1)
            norm.register_buffer("more", torch.ones(1))
            norm.register_forward_hook(lambda *given: None)
            raise KeyError("on the way")
    except KeyError:
        pass
    assert model.training and model.transformer.h[0].training and not norm.training
    assert model.forward is own
    assert not hasattr(norm, "cached") and "more" not in norm._buffers
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
