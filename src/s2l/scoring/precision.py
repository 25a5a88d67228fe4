"""A model whose matrix products read bfloat16, without a cast of the weights at every call."""

from __future__ import annotations

import torch
from torch.nn import Linear, Parameter
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


def lower_(model: PreTrainedModel) -> PreTrainedModel:
    """Keep the weights of linear layers in bfloat16, in place, as autocast would cast them each time.

    Embeddings, norms and what runs between the layers stay in float32; a head that is tied to the embedding is parted
    from it.
    """
    for module in model.modules():
        if type(module) in {Linear, Conv1D}:
            for name, own in list(module.named_parameters(recurse=False)):
                setattr(module, name, Parameter(own.detach().to(torch.bfloat16), requires_grad=False))
    return model
