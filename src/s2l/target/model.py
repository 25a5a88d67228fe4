"""The model to fine-tune: found, loaded or made, and kept so that it can be trained on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from s2l import __version__
from s2l.config import BUILTIN, ProxySettings
from s2l.errors import S2LError, SettingsError, printable, shown
from s2l.extras import to_install
from s2l.files import read_json, write_json
from s2l.proxy import builtin, load
from s2l.proxy.quiet import quiet
from s2l.proxy.stage import START
from s2l.run_folder import RUN
from s2l.target.settings import TrainSettings

MODEL = "model"
TRAINING = "training.json"
TRAINED_ON = "s2l.json"
ADAPTER = "adapter_config.json"


def find_model(name: str, revision: str | None = None) -> Path:
    """The local folder of a model's files: a hub id's, a folder, or the `model` in what an earlier training left.

    Raises SettingsError where there is none, MachineError where the hub cannot be reached.
    """
    try:
        folder = load.resolve(name, revision)
    except S2LError as error:
        raise type(error)(f"--model {str(error).replace(load.WAYS_OUT, 'give the path of a local folder')}") from None
    if (folder / TRAINING).is_file():
        return folder / MODEL
    if (folder / RUN).is_file():
        raise SettingsError(
            f"--model {printable(name)}: no model, but a run, or a training that is not finished: run its command "
            "again first"
        )
    return folder


def tokenizer_in(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of the model in `folder`: there, in the folder above, or where a run has it for its proxy."""
    places = (folder, folder.parent, folder.parent.parent / "tokenizer")
    return load.load_tokenizer(next((place for place in places if (place / "tokenizer.json").is_file()), folder))


def template_in(folder: Path) -> str | None:
    """The template that s2l trained the model on; None if s2l did not train it."""
    record = _read(folder / TRAINED_ON)
    if "template" in record:
        return str(record["template"])
    return "short" if _read(folder.parent / START).get("model") == BUILTIN else None


def load_model(folder: Path, tokenizer: PreTrainedTokenizerFast, max_length: int) -> PreTrainedModel:
    """The causal language model in `folder`, float32, on the CPU; adapters are merged into the model they belong to."""
    return load_merged(folder, len(tokenizer), max_length)


def load_merged(folder: Path, vocabulary: int, max_length: int) -> PreTrainedModel:
    """The same, for a tokenizer of so many entries."""
    if not (folder / ADAPTER).is_file():
        return load.load_pretrained(folder, vocabulary, max_length)
    need_package("peft")
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise SettingsError(f"{folder}: adapters, but none in safetensors")
    described = _read(folder / ADAPTER)
    base = find_model(str(described.get("base_model_name_or_path")), described.get("revision"))
    with silence(), warnings.catch_warnings():
        warnings.filterwarnings("error", ".*missing adapter keys.*")  # they would be made up
        try:
            model = PeftModel.from_pretrained(load_merged(base, vocabulary, max_length), str(folder))
            merged: PreTrainedModel = model.merge_and_unload()
        except (RuntimeError, ValueError, KeyError, UserWarning) as error:
            if isinstance(error, S2LError):
                raise
            raise SettingsError(f"{folder}: its adapters do not fit {base} ({shown(str(error).strip())})") from None
    return merged.requires_grad_(True)


def make_model(settings: TrainSettings, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A GPT-NeoX of `settings.layers` × `settings.width` with fresh weights, drawn from the seed."""
    assert tokenizer.eos_token_id is not None, "tokenizing refuses a tokenizer without an end token"
    shape = ProxySettings(model=BUILTIN, layers=settings.layers, width=settings.width)
    return builtin.build_model(shape, len(tokenizer), tokenizer.eos_token_id, settings.max_length, settings.seed)


def save_model(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    template: str,
    max_length: int,
    folder: Path,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a plain Hugging Face folder, with the template and the window that the model was trained with.

    state: its weights, where the model itself holds only a part of them.
    """
    with silence():
        model.save_pretrained(folder, state_dict=state)
        tokenizer.save_pretrained(folder)
    write_json(folder / TRAINED_ON, {"s2l": __version__, "template": template, "max_length": max_length})


@contextmanager
def silence() -> Iterator[None]:
    """Nothing of transformers, of the hub's client, of TRL and PEFT shows in the block, nor that they will change."""
    loggers = [logging.getLogger(name) for name in ("trl", "peft")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def need_package(name: str) -> None:
    """Raise SettingsError, with the command that installs it, where an optional package is missing."""
    if find_spec(name) is None:
        raise SettingsError(f"this needs the package {shown(name)}: {to_install('train')}")


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = read_json(path)
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}
