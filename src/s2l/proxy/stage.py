"""The proxy's stage of a run: tokenizer, then a plan, then T checkpoints; every part is kept and replayed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from s2l.config import BUILTIN, ProxySettings, TokenSettings
from s2l.errors import MachineError, RunFolderError, SettingsError, shown
from s2l.files import read_json, read_record, remove, write_json, written_whole
from s2l.progress import Progress
from s2l.proxy import builtin, checkpoints, load
from s2l.proxy.plan import Plan, make_plan
from s2l.proxy.train import RESUME, train
from s2l.scoring.batching import tokens_at_once
from s2l.types import Checkpoint, Tokens

PLAN = "plan.json"
START = "start.json"


def proxy_tokenizer(
    proxy: ProxySettings, settings: TokenSettings, texts: Iterable[str], folder: Path
) -> PreTrainedTokenizerFast:
    """The proxy's tokenizer, kept in `folder`: the model's own, the one named, or for `builtin` fitted on `texts`."""
    if folder.is_dir():
        return load.load_tokenizer(folder)
    if proxy.model != BUILTIN:
        tokenizer = load.load_tokenizer(load.resolve(proxy.model, proxy.revision))
        if settings.tokenizer is not None:
            named = load.load_tokenizer(load.resolve(settings.tokenizer, None))
            if named.get_vocab() != tokenizer.get_vocab():
                raise SettingsError(
                    f"--tokenizer {shown(settings.tokenizer)} is not the proxy's own: name a proxy that reads these "
                    "tokens, or --proxy builtin"
                )
    elif settings.tokenizer is not None:
        tokenizer = load.load_tokenizer(load.resolve(settings.tokenizer, None))
    else:
        tokenizer = builtin.fit_tokenizer(texts, proxy.vocabulary)
    with written_whole(folder) as part:
        tokenizer.save_pretrained(part)
    return load.load_tokenizer(folder)


def device_for(name: str) -> torch.device:
    """The device of that name; `auto` takes CUDA, then MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name not in {"cpu", "cuda", "mps"}:
        raise SettingsError(
            f"no device '{name}'; there are: auto, cpu, cuda, mps (choose a GPU by CUDA_VISIBLE_DEVICES)"
        )
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise SettingsError(f"no {name} device on this machine; use --device cpu")
    return torch.device(name)


@contextmanager
def enough_memory(batch_tokens: int) -> Iterator[None]:
    """A device that runs out of memory in the block is one line (MachineError)."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise MachineError(
            f"the device has no memory for {batch_tokens:,} tokens at once; use a smaller --batch-tokens (and --out)"
        ) from None


def train_proxy(
    tokens: Tokens,
    tokenizer: PreTrainedTokenizerFast,
    settings: ProxySettings,
    folder: Path,
    *,
    max_length: int,
    seed: int,
    progress: Progress,
    place: Callable[[int], str] | None = None,
) -> tuple[Plan, list[Checkpoint]]:
    """The trained proxy's checkpoints in `folder`, in order; trains, or goes on training, only if some are missing.

    `place` names a row of `tokens` for a person, should its loss not be finite.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingsError("the proxy is trained by one process; start s2l without torchrun or accelerate launch")
    plan = _plan(tokens, tokenizer, settings, folder, max_length, seed)
    if len(plan.saves) < settings.checkpoints:
        progress.note(f"{len(plan.saves)} checkpoints instead of {settings.checkpoints}: training has no more steps")
    steps = ((0,) if settings.initial_checkpoint else ()) + plan.saves
    found = [checkpoints.find(folder, step) for step in steps]
    if any(checkpoint is None for checkpoint in found):
        model = _start(settings, tokenizer, folder, max_length, seed)
        if settings.initial_checkpoint and found[0] is None:
            checkpoints.save(model, folder, 0)
        with plan.cpu_threads():
            train(model, tokens, plan, folder, progress, place)
        found = [checkpoints.find(folder, step) for step in steps]
    missing = [step for step, checkpoint in zip(steps, found, strict=True) if checkpoint is None]
    if missing:
        raise RunFolderError(f"{folder}: the checkpoint at step {missing[0]} is gone; remove {folder} to train again")
    remove(folder / RESUME)
    return plan, [checkpoint for checkpoint in found if checkpoint is not None]


def _plan(
    tokens: Tokens,
    tokenizer: PreTrainedTokenizerFast,
    settings: ProxySettings,
    folder: Path,
    max_length: int,
    seed: int,
) -> Plan:
    path = folder / PLAN
    if path.is_file():
        try:
            plan = Plan.from_json(read_json(path))
        except (ValueError, KeyError, TypeError):
            raise RunFolderError(
                f"{path}: damaged; remove the folder {folder} and run the same command again"
            ) from None
        device_for(plan.device)
        return plan
    plan = make_plan(
        len(tokens),
        settings,
        batch_tokens=tokens_at_once(settings.batch_tokens, max_length, len(tokenizer)),
        threads=settings.threads or torch.get_num_threads(),
        device=device_for(settings.device).type,
        seed=seed,
    )
    write_json(path, plan.as_json())
    return plan


def _start(
    settings: ProxySettings, tokenizer: PreTrainedTokenizerFast, folder: Path, max_length: int, seed: int
) -> PreTrainedModel:
    """The model before training; what it was is kept, and on resume it must be the same (RunFolderError)."""
    if settings.model == BUILTIN:
        assert tokenizer.eos_token_id is not None, "tokenizing refuses a tokenizer without an end token"
        model: PreTrainedModel = builtin.build_model(settings, len(tokenizer), tokenizer.eos_token_id, max_length, seed)
        source = {"model": BUILTIN, "sha256": None}
    else:
        files = load.resolve(settings.model, settings.revision)
        model = load.load_pretrained(files, len(tokenizer), max_length)
        source = {"model": settings.model, "sha256": load.digest(files)}
    record = source | {"architecture": type(model).__name__, "parameters": model.num_parameters()}
    path = folder / START
    if path.is_file() and read_record(path) != record:
        raise RunFolderError(
            f"{folder}: trained from another {shown(settings.model)} than is there now; use another --out"
        )
    write_json(path, record)
    return model
