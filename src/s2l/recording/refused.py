"""Weights that are not read: sharded training states and pickles, each with the command that converts them."""

from __future__ import annotations

import shlex
from pathlib import Path

from s2l.errors import SettingsError, printable

PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "consolidated*.pth")
ADAPTER_PICKLE = "adapter_model.bin"
BY_TRANSFORMERS = (
    "python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained({0!r}).save_pretrained('NEW')\""
)
BY_PEFT = (
    "python -c \"from peft import AutoPeftModelForCausalLM as M; M.from_pretrained({0!r}).save_pretrained('NEW')\""
)
THEN = "put config.json and the tokenizer's files beside what it writes, and name that folder"


def refusal(folder: Path) -> SettingsError | None:
    """Why the weights in a folder without safetensors cannot be read, and what makes them so; None without weights."""
    name = printable(str(folder))
    if fsdp := _fsdp(folder):
        return SettingsError(
            f"{name}: sharded by FSDP; convert it: accelerate merge-weights {_quoted(fsdp)} NEW; {THEN}"
        )
    if any(folder.glob("global_step*")) or (folder / "zero_to_fp32.py").is_file():
        script = _quoted(folder / "zero_to_fp32.py")
        command = f"python {script} {_quoted(folder)} NEW --safe_serialization"
        return SettingsError(f"{name}: sharded by DeepSpeed; convert it: {command}; {THEN}")
    if (folder / ADAPTER_PICKLE).is_file():
        return _pickled(name, ADAPTER_PICKLE, BY_PEFT.format(str(folder)))
    pickle = next((path for pattern in PICKLES for path in sorted(folder.glob(pattern))), None)
    if pickle is not None and pickle.name not in {"optimizer.pt", "scheduler.pt", "scaler.pt"}:
        return _pickled(name, printable(pickle.name), BY_TRANSFORMERS.format(str(folder)))
    return None


def _fsdp(folder: Path) -> Path | None:
    """The folder of the shards."""
    inside = sorted(path for path in folder.glob("pytorch_model_fsdp_*") if path.is_dir())
    shards = sorted([*folder.glob("*.distcp"), *folder.glob("*/*.distcp")])
    return inside[0] if inside else shards[0].parent if shards else None


def _pickled(name: str, file: str, command: str) -> SettingsError:
    return SettingsError(f"{name}: {file} is a pickle, which may run code; convert one you trust: {printable(command)}")


def _quoted(path: Path) -> str:
    return printable(shlex.quote(str(path)))
