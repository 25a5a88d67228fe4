"""Snapshots of the proxy: at which steps, saved as safetensors, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from s2l.errors import RunFolderError
from s2l.files import read_json, sha256_of, write_json, written_whole
from s2l.proxy.quiet import quiet
from s2l.types import LEFT, Checkpoint

WEIGHTS = "model.safetensors"
RECORD = "checkpoint.json"


def schedule(total_steps: int, checkpoints: int) -> tuple[int, ...]:
    """Steps at which to save: `checkpoints` equal fractions of training, the last step included.

    Depends on nothing else, so it is the same on any number of devices. Fewer steps than checkpoints: every step.
    """
    count = min(checkpoints, total_steps)
    return tuple((2 * total_steps * k + count) // (2 * count) for k in range(1, count + 1))


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint at `step` belongs."""
    return folder / f"step-{step:08d}"


@quiet()
def save(model: PreTrainedModel, folder: Path, step: int) -> Checkpoint:
    """Save the model as it is at `step`; replaces an older save of the same step."""
    path = folder_of(folder, step)
    with written_whole(path) as part:
        model.save_pretrained(part, safe_serialization=True, max_shard_size="1000GB")
        record = {"step": step, "sha256": sha256_of(part / WEIGHTS)}
        write_json(part / RECORD, record)
    return Checkpoint(step=step, path=path, sha256=str(record["sha256"]))


def find(folder: Path, step: int) -> Checkpoint | None:
    """The checkpoint at `step` if its weights were saved and, where another trainer left them, are still there."""
    path = folder_of(folder, step)
    if not path.is_dir():
        return None
    try:
        record = read_json(path / RECORD)
        found = Checkpoint(step=step, path=path, sha256=record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        raise _damaged(path) from None
    if LEFT not in record:
        return found if record.get("weights", True) else None
    from s2l.recording.foreign import is_there

    return found if is_there(record) else None


@quiet()
def load_model(checkpoint: Checkpoint, device: torch.device) -> PreTrainedModel:
    """The model at this checkpoint, float32; a missing or altered file is a RunFolderError."""
    weights = checkpoint.path / WEIGHTS
    if (record := _of_another_trainer(checkpoint)) is not None:
        from s2l.recording.foreign import load_left

        left = load_left(record)
        torch.nn.Module.to(left, device)
        return left
    if not weights.is_file() or sha256_of(weights) != checkpoint.sha256:
        raise _damaged(checkpoint.path)
    try:
        config = AutoConfig.from_pretrained(checkpoint.path, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            checkpoint.path, config=config, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
    except Exception:  # transformers and safetensors have many ways to fail on a damaged file
        raise _damaged(checkpoint.path) from None
    loaded: PreTrainedModel = model
    torch.nn.Module.to(loaded, device)
    return loaded


def _of_another_trainer(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The record of weights that lie elsewhere."""
    try:
        record: dict[str, Any] = read_json(checkpoint.path / RECORD)
        return record if LEFT in record and record["sha256"] == checkpoint.sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _damaged(path: Path) -> RunFolderError:
    return RunFolderError(
        f"{path}: this checkpoint is damaged or missing; remove the folder {path.parent} and run the same command "
        "again to train the proxy anew"
    )
