"""Fine-tune the target on chosen rows: claim the folder, train by a plan, keep the model and the record of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from s2l import __version__
from s2l.config import BUILTIN
from s2l.errors import RunFolderError, SettingsError, shown
from s2l.files import read_record, remove, write_json
from s2l.progress import SILENT, Progress
from s2l.proxy.load import digest
from s2l.proxy.plan import PLAN, Plan, global_batches
from s2l.proxy.stage import START, device_for
from s2l.proxy.train import RESUME
from s2l.run_folder import RUN, RunFolder, hold
from s2l.target.model import ADAPTER, TRAINING, find_model, load_model, make_model, need_package
from s2l.target.rows import TargetRows
from s2l.target.schedule import amount_seen, flops_of, plan_for
from s2l.target.settings import TrainSettings
from s2l.types import Tokens

LOSSES = "losses.json"
FIRST = 20
OF_NO_CONSEQUENCE = frozenset({"report_to", "resume_points", "rows_at_once", "batch_tokens", "device", "threads"})
"""But for the last bits, dropout of rows in other passes, and what the plan keeps once a step is done."""


def train(rows: TargetRows, settings: TrainSettings, out: Path, progress: Progress = SILENT) -> dict[str, Any]:
    """Fine-tune `settings.model` on the rows; returns the record, `out`/training.json. The model is in `out`/model.

    After a stop the same call goes on, on a CPU to the identical model; a finished training is not repeated. Started by
    a launcher as several processes, each calls it; the first keeps the model, and the others return {}.
    Raises RunFolderError where `out` was made from something else, NumericsError for a loss that is not finite.
    """
    files = _checked(settings)
    with hold(out) if leads() else nullcontext(RunFolder(out)) as folder:
        if leads():
            _claim(folder, rows, settings, files)
        if not (out / TRAINING).is_file():
            model = make_model(settings, rows.tokenizer) if files is None else _loaded(files, rows, settings)
            start = {
                "model": settings.model,
                "architecture": type(model).__name__,
                "parameters": model.num_parameters(),
            }
            plan = _plan(out, rows, model, settings)
            seen = amount_seen(rows.tokens, global_batches(rows.tokens.ids, plan))
            found: dict[str, Any] = {
                "steps": plan.steps,
                "epochs": plan.epochs,
                "rows": len(rows),
                "rows_seen": int(seen.rows),
                "tokens_seen": int(seen.tokens),
                "response_tokens_seen": int(seen.response_tokens),
                "flops": flops_of(model, seen, lora=settings.lora_rank is not None),
            }
            if leads():
                write_json(out / START, start)
            from s2l.target.fit import fit

            with folder.timed("train") if leads() else nullcontext(_nothing) as so_far:
                losses, trained = fit(model, rows, settings, plan, out, progress, so_far)
            if leads():
                write_json(out / LOSSES, losses)
                found |= {
                    "seconds": folder.seconds()["train"],
                    "first_losses": losses[:FIRST],
                    "last_losses": losses[-FIRST:],
                    "trained_parameters": trained,
                }
                _conclude(folder, start | found, rows, settings, plan)
        if not leads():
            return {}
        remove(out / RESUME)  # half removed, it would be taken for a state to go on from
        record: dict[str, Any] = read_record(out / TRAINING)
        return record


def _nothing() -> None:
    """Other processes than the first keep no time."""


def leads() -> bool:
    """Whether this process is the first of a launcher's, or alone."""
    return os.environ.get("RANK", "0") == "0"


def _checked(settings: TrainSettings) -> Path | None:
    """The folder of the model to start from, None for one from scratch; SettingsError for what cannot be."""
    settings.require()
    for package in ("trl", "peft") if settings.lora_rank else ("trl",):
        need_package(package)
    device_for(settings.device)
    if settings.model == BUILTIN:
        if settings.lora_rank:
            raise SettingsError("--lora-rank: a model from scratch has nothing to keep; train all of its weights")
        return None
    folder = find_model(str(settings.model), settings.revision)
    if settings.lora_rank and (folder / ADAPTER).is_file():
        raise SettingsError("--lora-rank: this model is adapters itself; train all of its weights, or its base model")
    return folder


def _claim(folder: RunFolder, rows: TargetRows, settings: TrainSettings, files: Path | None) -> None:
    """Say what the folder is for, or check that it is for just that; RunFolderError names what differs.

    As long as no step was planned it may still be claimed for something else.
    """
    path = folder.path / RUN
    asked: dict[str, Any] = {
        "s2l": __version__,
        "train": settings.model_dump(mode="json", exclude=set(OF_NO_CONSEQUENCE)),
        "model": None if files is None else digest(files),
        "rows": {"sha256": _digest(rows.tokens), "template": rows.template, **rows.origin},
    }
    if path.is_file() and "train" not in read_record(path):
        raise RunFolderError(f"{folder.path}: holds a run; use another --out")
    if path.is_file() and (folder.path / PLAN).is_file():
        before = read_record(path)
        same_model = before["model"] is not None and before["model"] == asked["model"]
        named = {"model"} if same_model else set()  # by whatever path
        differing = list(_differences(before["train"], asked["train"], named | OF_NO_CONSEQUENCE))
        if before["model"] != asked["model"]:
            differing.append("the files of --model")
        if before["rows"]["sha256"] != asked["rows"]["sha256"]:
            differing.append("the rows")
        if differing:
            raise RunFolderError(f"{folder.path}: made from other inputs: {'; '.join(differing)}; use another --out")
        return
    write_json(path, asked)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], but: AbstractSet[str]) -> Iterator[str]:
    for name in sorted({*before, *now} - but):
        if before.get(name) != now.get(name):
            flag = name.replace("_", "-")
            yield f"--{flag} was {shown(before.get(name))}, now {shown(now.get(name))}"


def _digest(tokens: Tokens) -> str:
    total = hashlib.sha256()
    for array in (tokens.ids, tokens.start_N, tokens.input_ids, tokens.counted):
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def _loaded(files: Path, rows: TargetRows, settings: TrainSettings) -> PreTrainedModel:
    return load_model(files, rows.tokenizer, settings.max_length)


def _plan(out: Path, rows: TargetRows, model: PreTrainedModel, settings: TrainSettings) -> Plan:
    """The plan kept in `out`; made anew as long as no step would be lost by it."""
    if (out / PLAN).is_file() and any((out / RESUME).glob("checkpoint-*/trainer_state.json")):
        plan = Plan.from_json(read_record(out / PLAN))
        device_for(plan.device)
        return plan
    ranks = int(os.environ.get("WORLD_SIZE") or "1")
    plan = plan_for(len(rows), rows.pool_rows, model, settings, device_for(settings.device).type, ranks)
    if leads():
        plan.write(out)
    return plan


def _conclude(
    folder: RunFolder, found: Mapping[str, Any], rows: TargetRows, settings: TrainSettings, plan: Plan
) -> None:
    """Write the record, the last file of a training."""
    record = {
        "s2l": __version__,
        **found,
        "match": settings.match,
        "template": rows.template,
        "from": dict(rows.origin),
        "plan": plan.as_json(),
        "settings": settings.model_dump(mode="json"),
        "torch": torch.__version__,
    }
    write_json(folder.path / TRAINING, record)
