"""Hub id or local folder → files on disk → tokenizer and model. Never runs a model's own code, never reads a pickle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from s2l.config import WITHOUT_WEIGHTS
from s2l.errors import MachineError, SettingsError, shown
from s2l.proxy.quiet import quiet

SAFE_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
WAYS_OUT = "give the path of a local folder (--proxy PATH), or train one from scratch with --proxy builtin"

NO_WEIGHTS = (
    "recorded during a training of your own, which left no weights here; what needs the model needs a run of s2l run"
)


@quiet()
def resolve(name: str, revision: str | None) -> Path:
    """The local folder of a model: `name` itself, or the hub's snapshot of it, downloaded or from the cache.

    Only configuration, tokenizer and safetensors files are fetched. An unreachable hub is a MachineError that names
    both ways out; a model that is not there, or not to be had, a SettingsError.
    """
    if name in WITHOUT_WEIGHTS:
        raise SettingsError(NO_WEIGHTS)
    if _is_folder(name):
        return Path(name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise SettingsError(f"{shown(name)}: no such folder; {WAYS_OUT}")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(SAFE_FILES)))
    except GatedRepoError:
        raise SettingsError(f"{shown(name)}: the hub asks for a licence first; set HF_TOKEN, or {WAYS_OUT}") from None
    except RevisionNotFoundError:
        raise SettingsError(f"{shown(name)}: the hub has no revision {shown(revision)} of it") from None
    except RepositoryNotFoundError:
        raise SettingsError(f"{shown(name)}: no such model on the hub; {WAYS_OUT}") from None
    except (OSError, HfHubHTTPError):
        raise MachineError(f"{shown(name)}: the hub cannot be reached and the cache has no copy; {WAYS_OUT}") from None
    except ValueError:
        raise SettingsError(f"{shown(name)}: neither a folder nor a hub id; {WAYS_OUT}") from None


@quiet()
def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in `folder`; it must be a fast one."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers and tokenizers have many ways to fail on a damaged file
        raise SettingsError(f"{folder}: no usable tokenizer here ({_first_line(error)})") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise SettingsError(f"{folder}: its tokenizer has no tokenizer.json (a fast one is needed)")
    if tokenizer.vocab_size <= len(tokenizer.all_special_ids):
        raise SettingsError(f"{folder}: no tokenizer here (transformers made up an empty one)")
    return tokenizer


@quiet()
def load_pretrained(folder: Path, vocabulary: int, max_length: int) -> PreTrainedModel:
    """The causal language model in `folder`, float32, checked to have room for the tokenizer and the window."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers and safetensors have many ways to fail on a damaged file
        raise SettingsError(f"{folder}: no causal language model in safetensors here ({_first_line(error)})") from None
    model: PreTrainedModel = loaded[0]
    if absent := sorted(loaded[1]["missing_keys"]):
        raise SettingsError(f"{folder}: its weights lack {len(absent)} tensors of the model, such as {absent[0]}")
    check_room(model, str(folder), vocabulary, max_length)
    return model


def check_room(model: PreTrainedModel, name: str, vocabulary: int, max_length: int) -> None:
    """SettingsError where the model has no room for so many tokens of a tokenizer, or rows of such a length."""
    entries = model.get_input_embeddings().weight.shape[0]  # type: ignore[index]
    if vocabulary > entries:
        raise SettingsError(f"{name}: its tokenizer has {vocabulary} entries, its embedding only {entries}")
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if window is not None and max_length > window:
        raise SettingsError(f"{name}: reads at most {window} tokens; --max-length is {max_length}: ask for {window}")


def _is_folder(name: str) -> bool:
    try:
        return name != "" and Path(name).is_dir()
    except OSError:  # too long for a path
        return False


def digest(folder: Path) -> str:
    """sha256 over what determines the model: names and bytes of its JSON and safetensors files."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".safetensors"}:
            with path.open("rb") as file:
                total.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _first_line(error: BaseException) -> str:
    return shown((str(error).strip().splitlines() or [type(error).__name__])[0])
