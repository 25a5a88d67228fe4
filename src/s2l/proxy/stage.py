"""The proxy's stage of a run: tokenizer, then a plan, then T checkpoints; every part is kept and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from s2l.config import BUILTIN, ProxySettings, TokenSettings
from s2l.errors import MachineError, RunFolderError, SettingsError, shown
from s2l.files import read_json, read_record, remove, write_json, written_whole
from s2l.progress import Progress
from s2l.proxy import builtin, checkpoints, load
from s2l.proxy.memory import enough_memory, free_memory
from s2l.proxy.plan import PLAN, Plan, make_plan
from s2l.proxy.ranks import ALONE, GoneError, Ranks, launched
from s2l.proxy.step import Stepper
from s2l.proxy.train import RESUME, train
from s2l.proxy.workers import workers_for
from s2l.scoring.batching import tokens_at_once
from s2l.scoring.precision import plain_kernels
from s2l.types import Checkpoint, Tokens

START = "start.json"
BATCH_TOKENS = {"cpu": 2048}
BATCH_TOKENS_GPU = 16384

__all__ = ["PLAN", "START", "device_for", "enough_memory", "follow", "proxy_tokenizer", "train_proxy"]


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
    ranks: Ranks = ALONE,
) -> tuple[Plan, list[Checkpoint]]:
    """The trained proxy's checkpoints in `folder`, in order; trains, or goes on training, only if some are missing.

    `place` names a row of `tokens` for a person, should its loss not be finite. Other `ranks` must `follow`.
    """
    if launched():
        raise SettingsError(
            "one process trains the proxy here; for several start the run itself: torchrun … -m s2l run …"
        )
    model = None
    if not (folder / PLAN).is_file():
        model = beginning(settings, tokenizer, folder, max_length, seed)
        _new_plan(len(tokens), len(tokenizer), model, settings, max_length, seed, ranks).write(folder)
    plan = _stored_plan(folder)
    if plan.ranks != ranks.world:
        progress.note(f"planned on {plan.ranks} processes, now {ranks.world}: the same up to floating-point noise")
    if len(plan.saves) < settings.checkpoints:
        progress.note(f"{len(plan.saves)} checkpoints instead of {settings.checkpoints}: training has no more steps")
    steps = ((0,) if settings.initial_checkpoint else ()) + plan.saves
    found = [checkpoints.find(folder, step) for step in steps]
    if any(checkpoint is None for checkpoint in found):
        model = model or beginning(settings, tokenizer, folder, max_length, seed)
        if settings.initial_checkpoint and found[0] is None:
            checkpoints.save(model, folder, 0)
        try:
            call(ranks, plan)
            with plan.cpu_threads():
                train(model, tokens, plan, folder, progress, place, ranks)
        finally:
            ranks.part()
        plan = _stored_plan(folder)
        found = [checkpoints.find(folder, step) for step in steps]
    else:
        ranks.tell(None)
        ranks.part()
    missing = [step for step, checkpoint in zip(steps, found, strict=True) if checkpoint is None]
    if missing:
        raise RunFolderError(f"{folder}: the checkpoint at step {missing[0]} is gone; remove {folder} to train again")
    remove(folder / RESUME)
    return plan, [checkpoint for checkpoint in found if checkpoint is not None]


def call(ranks: Ranks, plan: Plan) -> None:
    """Call the other ranks to the training; what keeps one of them away is raised here."""
    ranks.tell(plan)
    for rank, trouble in enumerate(ranks.gather(None)):
        if trouble is not None:
            raise MachineError(f"process {rank} of the launcher: {trouble}")


def follow(
    ranks: Ranks,
    read: Callable[[], tuple[Tokens, PreTrainedTokenizerFast]],
    settings: ProxySettings,
    *,
    max_length: int,
    seed: int,
) -> None:
    """Work on every batch that the first rank trains on; `read` is called once its run has tokens.

    Ends with the training, or with the first rank, which tells its reason: this one stays silent.
    """
    with suppress(GoneError):
        plan: Plan | None = ranks.tell()
        if plan is None:
            return
        try:
            tokens, tokenizer = read()
            model, _ = _untrained(settings, tokenizer, max_length, seed)
            if plan.device == "cuda":
                torch.cuda.set_device(ranks.local)
            torch.nn.Module.to(model, plan.device)
        except Exception as error:
            ranks.gather(str(error) or type(error).__name__)
            return
        ranks.gather(None)
        with (
            plan.cpu_threads(),
            plain_kernels(plan.device, plan.precision),
            closing(Stepper(model, tokens, plan, ranks)) as stepper,
        ):
            stepper.follow()
        ranks.part()
        free_memory()  # this process waits for the first one, which records on this device too


def _new_plan(
    rows: int,
    vocabulary: int,
    model: PreTrainedModel,
    settings: ProxySettings,
    max_length: int,
    seed: int,
    ranks: Ranks,
) -> Plan:
    device = device_for(settings.device).type
    batch_tokens = max(max_length, settings.batch_tokens or BATCH_TOKENS.get(device, BATCH_TOKENS_GPU))
    if device == "cpu":
        batch_tokens = tokens_at_once(batch_tokens, max_length, vocabulary)
    threads = settings.threads or torch.get_num_threads()
    plan = make_plan(
        rows, settings, batch_tokens=batch_tokens, threads=threads, device=device, seed=seed, ranks=ranks.world
    )
    return replace(plan, workers=workers_for(model, threads, plan.batch_size) if device == "cpu" else 1)


def _stored_plan(folder: Path) -> Plan:
    try:
        plan = Plan.from_json(read_json(folder / PLAN))
    except (ValueError, KeyError, TypeError):
        raise RunFolderError(
            f"{folder / PLAN}: damaged; remove the folder {folder} and run the same command again"
        ) from None
    device_for(plan.device)
    return plan


def beginning(
    settings: ProxySettings, tokenizer: PreTrainedTokenizerFast, folder: Path, max_length: int, seed: int
) -> PreTrainedModel:
    """The model before training; what it was is kept, and on resume it must be the same (RunFolderError)."""
    model, source = _untrained(settings, tokenizer, max_length, seed)
    record = source | {"architecture": type(model).__name__, "parameters": model.num_parameters()}
    path = folder / START
    if path.is_file() and read_record(path) != record:
        raise RunFolderError(
            f"{folder}: trained from another {shown(settings.model)} than is there now; use another --out"
        )
    write_json(path, record)
    return model


def _untrained(
    settings: ProxySettings, tokenizer: PreTrainedTokenizerFast, max_length: int, seed: int
) -> tuple[PreTrainedModel, dict[str, str | None]]:
    """The model before training, and what it is."""
    if settings.model == BUILTIN:
        assert tokenizer.eos_token_id is not None, "tokenizing refuses a tokenizer without an end token"
        model = builtin.build_model(settings, len(tokenizer), tokenizer.eos_token_id, max_length, seed)
        return model, {"model": BUILTIN, "sha256": None}
    files = load.resolve(settings.model, settings.revision)
    return load.load_pretrained(files, len(tokenizer), max_length), {
        "model": settings.model,
        "sha256": load.digest(files),
    }
