"""`s2l record POOL --checkpoints …`: a run whose checkpoints another trainer left; one more later scores only that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from s2l import manifest
from s2l.config import BUILTIN, WITHOUT_WEIGHTS, RunSettings
from s2l.data.rows_file import load_rows
from s2l.errors import RunFolderError, SettingsError, quoting_rows
from s2l.files import read_json, read_record, write_json
from s2l.flags import validated
from s2l.pipeline import read, to_recorded, to_tokens
from s2l.progress import SILENT, Progress
from s2l.proxy.checkpoints import RECORD, folder_of
from s2l.proxy.memory import enough_memory
from s2l.proxy.plan import PLAN, Plan
from s2l.proxy.ranks import launched
from s2l.proxy.stage import BATCH_TOKENS, BATCH_TOKENS_GPU, START, device_for
from s2l.recording.earlier import set_aside
from s2l.recording.foreign import digest, is_there
from s2l.recording.found import STATE, Left, find_checkpoints
from s2l.recording.shards import record_shards
from s2l.recording.tokenizer import keep_tokenizer
from s2l.report.page.write import REPORT, write_report
from s2l.run_folder import RUN, RunFolder, hold
from s2l.scoring.batching import tokens_at_once
from s2l.target.model import load_merged
from s2l.types import LEFT, Checkpoint

if TYPE_CHECKING:
    import datasets


def record_checkpoints(
    settings: RunSettings, out: Path, progress: Progress = SILENT, dataset: datasets.Dataset | None = None
) -> dict[str, Any]:
    """Record the pool at the checkpoints `settings.recorded`; returns the manifest of the run, where nothing is drawn.

    Goes on after a stop. In a run of fewer checkpoints only the others are scored, and what had been drawn is set
    aside. Raises SettingsError for a checkpoint that cannot be read, RunFolderError for another run's folder.
    """
    assert settings.recorded, "which checkpoints?"
    if launched():
        raise SettingsError("recording takes one process, and --processes N of its own")
    device_for(settings.proxy.device)
    with hold(out) as folder, quoting_rows(settings.examples):
        found = find_checkpoints(settings.recorded, progress)
        asked = settings.model_copy(update={"proxy": settings.proxy.model_copy(update={"model": _model(found)})})
        asked = as_claimed(asked, folder)
        pool = read(asked, folder, progress, dataset)
        tokenizer = keep_tokenizer(found, settings.tokens.tokenizer, folder.tokenizer)
        known = known_records(folder)
        records = known | {left.step: _as_known(left, known, folder) for left in found}
        for step in sorted(set(known) - {left.step for left in found}):
            progress.note(f"the checkpoint of step {step} is not there any more: its recorded losses stay")
        if not (folder.proxy / START).is_file():
            _write_start(found[-1], len(tokenizer), asked, folder)
        to_tokens(pool, asked, folder, progress)
        del pool
        grow(records, found, settings, len(tokenizer), folder)
        return complete(validated(folder.claimed()["settings"]), folder, progress)


def complete(settings: RunSettings, folder: RunFolder, progress: Progress) -> dict[str, Any]:
    """Score what is not recorded yet, and write what rests on it; returns the manifest."""
    plan = Plan.from_json(read_record(folder.proxy / PLAN))
    device_for(plan.device)
    steps = ([0] if settings.proxy.initial_checkpoint else []) + list(plan.saves)
    if not folder.manifest.is_file():
        checkpoints = [_checkpoint(folder, step) for step in steps]
        with folder.timed("record trajectories"), enough_memory(settings.proxy.batch_tokens):
            tokens, trajectories = record_shards(
                folder, checkpoints, plan, progress, processes=settings.proxy.processes
            )
        rows, lengths_N = load_rows(folder.rows)
        _, strength = to_recorded(trajectories, rows, lengths_N, settings.seed, folder, progress)
        write_json(folder.manifest, manifest.of_run(settings, folder, rows, tokens, strength, []))
    if not (folder.path / REPORT).is_file():
        write_report(folder, with_examples=settings.examples, progress=progress)
    finished: dict[str, Any] = read_record(folder.manifest)
    return finished


def as_claimed(settings: RunSettings, folder: RunFolder) -> RunSettings:
    """The settings as the run's own claim has what may differ: checkpoints, what they are called, added rows."""
    if not (folder.path / RUN).is_file():
        return settings
    made = validated(folder.claimed()["settings"])
    if not made.recorded:
        raise RunFolderError(f"{folder.path}: a run that trained its own checkpoints; use another --out")
    proxy = settings.proxy.model_copy(update={"model": made.proxy.model})
    update = {"recorded": made.recorded, "proxy": proxy}
    if made.added and settings.pool.paths == made.pool.paths[: -sum(made.added)]:
        update |= {"pool": settings.pool.model_copy(update={"paths": made.pool.paths}), "added": made.added}
    return settings.model_copy(update=update)


def known_records(folder: RunFolder) -> dict[int, dict[str, Any]]:
    """What the run says of its checkpoints, by step."""
    found = (read_record(path) for path in sorted(folder.proxy.glob(f"step-*/{RECORD}")))
    return {record["step"]: record for record in found}


def grow(
    records: Mapping[int, Mapping[str, Any]],
    found: Sequence[Left],
    settings: RunSettings,
    vocabulary: int,
    folder: RunFolder,
) -> None:
    """Make the run one of these checkpoints; the plan, written last, says so. What rested on fewer is set aside."""
    path = folder.proxy / PLAN
    plan = Plan.from_json(read_record(path)) if path.is_file() else None
    steps = tuple(sorted(records))
    if plan is not None and plan.saves == steps:
        return
    set_aside(folder)
    claimed = folder.claimed()
    named = dict.fromkeys([*(claimed["settings"]["recorded"] or ()), *(settings.recorded or ())])
    write_json(folder.path / RUN, claimed | {"settings": claimed["settings"] | {"recorded": list(named)}})
    for step, record in records.items():
        write_json(folder_of(folder.proxy, step) / RECORD, record)
    plan = plan or _plan(settings, vocabulary)
    replace(plan, steps=steps[-1], saves=steps, epochs=max(plan.epochs, _epochs(found[-1].folder))).write(folder.proxy)


def _as_known(left: Left, known: Mapping[int, Mapping[str, Any]], folder: RunFolder) -> dict[str, Any]:
    record = {"step": left.step, "sha256": digest(left.folder), LEFT: left.model, "revision": left.revision}
    before = known.get(left.step, record)
    if before["sha256"] != record["sha256"]:
        raise RunFolderError(
            f"{left.name}: not the checkpoint of step {left.step} that was recorded into {folder.path}; "
            "use another --out"
        )
    return dict(before) if is_there(before) else record


def _model(found: Sequence[Left]) -> str:
    """What the model is called: its name on the hub, or the folder that its checkpoints are in."""
    last = found[-1]
    name = last.model if last.revision is not None else last.folder.parent.name or last.folder.name
    return f"./{name}" if name in {BUILTIN, *WITHOUT_WEIGHTS} else name


def _write_start(left: Left, vocabulary: int, settings: RunSettings, folder: RunFolder) -> None:
    """What the model is; one of its checkpoints is loaded to see that it reads the tokenizer and the window."""
    model = load_merged(left.folder, vocabulary, settings.tokens.max_length)
    write_json(
        folder.proxy / START,
        {
            "model": settings.proxy.model,
            "sha256": None,
            "architecture": type(model).__name__,
            "parameters": model.num_parameters(),
        },
    )


def _plan(settings: RunSettings, vocabulary: int) -> Plan:
    """How to score; of the training nothing is known, and 0 stands for it."""
    device, max_length = device_for(settings.proxy.device).type, settings.tokens.max_length
    batch_tokens = max(max_length, settings.proxy.batch_tokens or BATCH_TOKENS.get(device, BATCH_TOKENS_GPU))
    if device == "cpu":
        batch_tokens = tokens_at_once(batch_tokens, max_length, vocabulary)
    return Plan(
        steps=0,
        saves=(),
        batch_size=0,
        epochs=0.0,
        learning_rate=0.0,
        weight_decay=0.0,
        warmup_steps=0,
        batch_tokens=batch_tokens,
        threads=settings.proxy.threads or torch.get_num_threads(),
        device=device,
        precision=settings.proxy.precision,
        seed=settings.seed,
    )


def _epochs(folder: Path) -> float:
    """Of the training until this checkpoint; 0 where Trainer's own record does not tell."""
    try:
        return float(read_json(folder / STATE)["epoch"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _checkpoint(folder: RunFolder, step: int) -> Checkpoint:
    """As the run names it; whether its weights are there is seen when they are needed."""
    path = folder_of(folder.proxy, step)
    return Checkpoint(step=step, path=path, sha256=read_record(path / RECORD)["sha256"])
