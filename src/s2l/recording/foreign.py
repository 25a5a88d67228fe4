"""A checkpoint that another trainer left: where it lies, what determines its weights, how it is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from s2l.errors import MachineError, RunFolderError, S2LError, SettingsError, printable
from s2l.files import read_json, sha256_of
from s2l.proxy import load
from s2l.target.model import ADAPTER, load_merged

CONFIGS = frozenset({"config.json", ADAPTER, "model.safetensors.index.json"})
SHAPE = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
ELSEWHERE = "give the path of a local folder"


def resolved(name: str, revision: str | None) -> Path:
    """The folder of a model: `name` itself, or the hub's snapshot; as `proxy.load.resolve`."""
    try:
        return load.resolve(name, revision)
    except (SettingsError, MachineError) as error:
        raise type(error)(str(error).replace(load.WAYS_OUT, ELSEWHERE)) from None


def base_of(folder: Path) -> Path | None:
    """The folder of the model that the adapters in `folder` belong to; None where the model is whole."""
    if not (folder / ADAPTER).is_file():
        return None
    described = _described(folder / ADAPTER)
    try:
        return resolved(str(described.get("base_model_name_or_path")), described.get("revision"))
    except S2LError as error:
        raise type(error)(f"{printable(str(folder / ADAPTER))}: its base model: {error}") from None


def shape_of(folder: Path) -> dict[str, Any]:
    """What the checkpoints of one training have in common."""
    base = base_of(folder)
    config = _described((base or folder) / "config.json")
    config = config.get("text_config", config)
    return {"adapters of": None if base is None else base.name, **{name: config.get(name) for name in SHAPE}}


def digest(folder: Path) -> str:
    """sha256 over what determines the model: its configuration and weights, and those of its base."""
    base = base_of(folder)
    of_base = digest(base) if base else ""
    files = [path for path in sorted(folder.iterdir()) if path.suffix == ".safetensors" or path.name in CONFIGS]
    stamps = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return _digest(stamps, of_base)


@lru_cache(maxsize=1024)
def _digest(stamps: tuple[tuple[Path, int, int], ...], of_base: str) -> str:
    """Files are read once as long as their size and time stay."""
    lines = [f"{path.name}\0{sha256_of(path)}\n" for path, _, _ in stamps]
    return hashlib.sha256("".join([*lines, of_base]).encode()).hexdigest()


def is_there(record: Mapping[str, Any]) -> bool:
    """Whether the checkpoint that a run names still lies where it was; of the hub's that is taken for granted."""
    return record["revision"] is not None or Path(record["model"]).is_dir()


def load_left(record: Mapping[str, Any]) -> PreTrainedModel:
    """The checkpoint's model, float32, adapters merged; RunFolderError where it is gone or has changed."""
    name = printable(record["model"])
    if not is_there(record):
        raise RunFolderError(f"{name}: the checkpoint of step {record['step']} is gone; put it back")
    folder = resolved(record["model"], record["revision"])
    if digest(folder) != record["sha256"]:
        raise RunFolderError(
            f"{name}: the checkpoint of step {record['step']} has changed; record it into another --out"
        )
    return load_merged(folder, 0, 0)


def _described(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        raise SettingsError(f"{printable(str(path))}: missing or damaged; it says what the model is") from None
    if not isinstance(value, dict):
        raise SettingsError(f"{printable(str(path))}: no JSON object")
    return value
