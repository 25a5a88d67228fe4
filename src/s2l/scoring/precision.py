"""How matrix products are computed: bfloat16 without a cast of the weights at every call, float32 by plain kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import Linear, Parameter
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


def lower_(model: PreTrainedModel) -> PreTrainedModel:
    """Keep the weights of linear layers in bfloat16, in place, as autocast would cast them each time.

    Those of embeddings and norms stay in float32; a head that is tied to the embedding is parted from it.
    """
    for module in model.modules():
        if type(module) in {Linear, Conv1D}:
            for name, own in list(module.named_parameters(recurse=False)):
                setattr(module, name, Parameter(own.detach().to(torch.bfloat16), requires_grad=False))
    return model


@contextmanager
def plain_kernels(device: str, precision: str) -> Iterator[None]:
    """On a CPU, and in float32, keep torch from oneDNN in the block.

    It keeps a kernel for every shape it has seen: hundreds of MiB by a heap that they hold apart, and no faster.
    """
    if device != "cpu" or precision != "float32":
        yield
        return
    set_flags = torch.backends.mkldnn.set_flags  # `flags` also sets what is for Intel GPUs, and warns without one
    before, *_ = set_flags(_enabled=False, _fp32_precision=None)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        set_flags(_enabled=before, _fp32_precision=None)  # type: ignore[no-untyped-call]
