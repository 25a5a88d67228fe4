"""The model that a training holds: without its wrappers, refused where it lies in shards, told by its digest."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DataParallel, DistributedDataParallel
from transformers import PreTrainedModel

from s2l.errors import SettingsError

if TYPE_CHECKING:
    from transformers import TrainingArguments

SHARDED_MODULES = {"FullyShardedDataParallel", "DeepSpeedZeRoOffload"}


def unwrapped(model: Any) -> torch.nn.Module:
    """The model within what DDP or `torch.compile` put around it: that of transformers, or peft's."""
    while isinstance(model, DistributedDataParallel | DataParallel) or hasattr(model, "_orig_mod"):
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module
    inner: torch.nn.Module = model
    return inner


def plain(model: Any) -> PreTrainedModel:
    """The transformers model within what DDP, `torch.compile` or peft put around it; adapters stay in place."""
    model = unwrapped(model)
    if hasattr(model, "get_base_model"):
        if getattr(model.active_peft_config, "is_prompt_learning", False):
            raise SettingsError("TrajectoryRecorder: learned prompts (peft) are not scored; LoRA and full training are")
        model = model.get_base_model()
    if not isinstance(model, PreTrainedModel) or model.get_output_embeddings() is None:
        raise SettingsError(f"TrajectoryRecorder: {type(model).__name__} is no causal language model of transformers")
    return model


def refuse_shards(model: torch.nn.Module, args: TrainingArguments) -> None:
    """SettingsError where no process holds the whole model."""
    sharded = any(isinstance(own, DTensor) or hasattr(own, "ds_id") for own in model.parameters())
    if args.fsdp or sharded or any(type(module).__name__ in SHARDED_MODULES for module in model.modules()):
        raise SettingsError(
            "TrajectoryRecorder: the weights are sharded (FSDP, DeepSpeed ZeRO-3), so that no process can score by "
            "itself; train by DDP or ZeRO-2"
        )


def use_own_forward(model: PreTrainedModel) -> None:
    """Take away what trainers put over `forward` (autocast, a loss in the head); to be called where it is put back."""
    if not hasattr(model, "_hf_hook"):  # a model split over devices needs it
        vars(model).pop("forward", None)


@torch.no_grad()
def digest(model: torch.nn.Module) -> str:
    """sha256 over the names, types and values of all weights."""
    total = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
