"""The beginning of a recording: what the training is, which steps are recorded, and whether it may go on."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from s2l.config import SEEN, RunSettings
from s2l.data.tokens import load_tokens
from s2l.errors import RunFolderError, SettingsError
from s2l.files import read_record, remove, write_json, written_whole
from s2l.pipeline import read, to_tokens
from s2l.progress import Progress
from s2l.proxy import checkpoints
from s2l.proxy.load import check_room
from s2l.proxy.memory import enough_memory
from s2l.proxy.plan import PLAN, Plan
from s2l.proxy.stage import BATCH_TOKENS, BATCH_TOKENS_GPU, START
from s2l.recording.callback.processes import Processes
from s2l.recording.callback.recording import Recording
from s2l.recording.callback.saved import SAVED, load, path_of
from s2l.recording.callback.seen import Contents, Seen
from s2l.recording.callback.weights import digest, plain
from s2l.run_folder import RunFolder
from s2l.scoring.batching import collate, tokens_at_once
from s2l.scoring.forward import choose_path
from s2l.scoring.setup import SCORER, scorer_for

if TYPE_CHECKING:
    import datasets
    from transformers import TrainerState, TrainingArguments

TRAINING = "training.json"
FIRST = "step-00000000"
"""Of the weights before training, which may be recorded anew."""
OF_TRAINING = ("steps", "saves", "batch_size", "epochs", "learning_rate", "weight_decay", "warmup_steps", "seed")
"""Of the plan: what tells one training from another. How it is scored may change on the way."""
ONE_PLAIN_MODEL = (
    "losses='seen' watches passes of a model on one device in each process, not compiled; losses='recorded' need not"
)


def prepare(
    folder: RunFolder,
    settings: RunSettings,
    dataset: datasets.Dataset | None,
    tokenizer: PreTrainedTokenizerFast,
    model: PreTrainedModel,
    plan: Plan,
    progress: Progress,
) -> None:
    """Put into the folder what comes before the losses: rows, tokens, plan, how to score.

    Raises RunFolderError where it belongs to another pool, other settings or another training.
    """
    check_room(model, "the model that is trained", len(tokenizer), settings.tokens.max_length)
    if dataset is not None and not len(dataset):
        raise SettingsError("TrajectoryRecorder: the pool has no rows")
    pool = read(settings, folder, progress, dataset)
    _claim_training(folder, _training(tokenizer, model, plan))
    if not folder.tokenizer.is_dir():
        with written_whole(folder.tokenizer) as part:
            tokenizer.save_pretrained(part)
    tokens = to_tokens(pool, settings, folder, progress)
    if not (folder.proxy / PLAN).is_file():
        plan.write(folder.proxy)
    before = Plan.from_json(read_record(folder.proxy / PLAN))
    if not (folder.proxy / START).is_file():
        write_json(folder.proxy / START, _start(model))
    if settings.proxy.model != SEEN and not (folder.trajectories / SCORER).is_file():
        response_tokens = len(plan.saves) * float(tokens.response_lengths.sum())
        with enough_memory(plan.batch_tokens):
            scorer_for(model, tokens, before, response_tokens, folder.trajectories, progress)


def opened(path: Path, settings: RunSettings, processes: Processes, progress: Progress) -> Recording:
    """The recording that was prepared at `path`, as every process opens it."""
    folder = RunFolder(path)
    plan = Plan.from_json(read_record(folder.proxy / PLAN))
    return Recording(folder, settings, load_tokens(folder.tokens), plan, processes, progress)


def check_past(recording: Recording, model: PreTrainedModel, step: int) -> None:
    """RunFolderError where a training goes on at `step` that is not the one recorded until there."""
    folder = recording.folder.path
    gone = [past for past in recording.steps if step and past <= step and recording.digest_at(past) is None]
    if gone:
        raise RunFolderError(
            f"{folder}: the training goes on at step {step}, but step {gone[0]} was not recorded; go on "
            "from a checkpoint before it, or train from the start with another out"
        )
    kept = path_of(folder, step, 0)
    before = recording.digest_at(step) if step in recording.steps else load(kept)[0] if kept.is_file() else None
    if step and before is not None and before != digest(model):
        raise RunFolderError(
            f"{folder}: the training goes on at step {step} from other weights than this recording knows; use another "
            "out"
        )


def to_see(recording: Recording, model: torch.nn.Module, loader: Any, step: int) -> Seen:
    """What will watch the training from `step` on, with what was seen of its epoch before."""
    if hasattr(model, "_orig_mod"):
        raise SettingsError(f"TrajectoryRecorder: {ONE_PLAIN_MODEL}")
    own = plain(model)
    path = choose_path(own, collate(recording.tokens, np.array([0])).to(own.device))
    seen = Seen(Contents(recording.tokens), own, path, _share(recording, loader))
    if step and step not in recording.steps:
        seen.go_on(*load(path_of(recording.folder.path, step, recording.processes.rank))[1:])
    return seen


def _share(recording: Recording, loader: Any) -> float:
    """How many rows of the pool each row of the training should be on average; 0 where that is not known."""
    try:
        return min(1.0, len(recording.tokens) / len(loader.dataset))
    except (AttributeError, TypeError, NotImplementedError, ZeroDivisionError):
        return 0.0


def epoch_ends(args: TrainingArguments, state: TrainerState, loader: Any) -> tuple[int, ...]:
    """The last step of every whole epoch; SettingsError where there is none, or it cannot be known."""
    if args.torch_compile or args.n_gpu > 1:
        raise SettingsError(f"TrajectoryRecorder: {ONE_PLAIN_MODEL}")
    try:
        batches = len(loader)
    except TypeError:
        raise SettingsError(
            "TrajectoryRecorder: rows that come as a stream have no epochs; losses='recorded'"
        ) from None
    each = -(-batches // args.gradient_accumulation_steps)
    if not (ends := tuple(range(each, state.max_steps + 1, each))):
        raise SettingsError(f"TrajectoryRecorder: {state.max_steps} steps are no whole epoch, which has {each}")
    return ends


def plan_of(
    args: TrainingArguments,
    state: TrainerState,
    settings: RunSettings,
    model: PreTrainedModel,
    vocabulary: int,
    saves: tuple[int, ...] | None = None,
) -> Plan:
    """The training as its arguments say it, and how its losses are scored; saves: at equal fractions if not given."""
    device, threads = model.device.type, settings.proxy.threads or torch.get_num_threads()
    longest = settings.tokens.max_length
    batch_tokens = max(longest, settings.proxy.batch_tokens or BATCH_TOKENS.get(device, BATCH_TOKENS_GPU))
    if device == "cpu":
        batch_tokens = tokens_at_once(batch_tokens, longest, vocabulary)
    return Plan(
        steps=state.max_steps,
        saves=saves or checkpoints.schedule(state.max_steps, settings.proxy.checkpoints),
        batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        epochs=float(state.num_train_epochs if args.max_steps > 0 else args.num_train_epochs),
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        warmup_steps=args.get_warmup_steps(state.max_steps),
        batch_tokens=batch_tokens,
        threads=threads,
        device=device,
        precision=settings.proxy.precision,
        seed=args.seed,
        ranks=args.world_size,
    )


def _training(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel, plan: Plan) -> dict[str, Any]:
    """What must be the same where a recording goes on."""
    planned = plan.as_json()
    return {
        "tokenizer": sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "architecture": type(model).__name__,
        "parameters": model.num_parameters(),
        **{name: planned[name] for name in OF_TRAINING},
    }


def _claim_training(folder: RunFolder, training: Mapping[str, Any]) -> None:
    """The folder is for this training. One of which no step is recorded yet gives way; else RunFolderError."""
    path = folder.proxy / TRAINING
    before = read_record(path) if path.is_file() else None
    if before == training:
        return
    if any(path.parent.name != FIRST for path in folder.trajectories.glob("step-*/*.parquet")):
        known = before or {}
        name = next(name for name in training if known.get(name) != training[name])
        told = f"{name} {known.get(name)}, this one has {training[name]}"
        raise RunFolderError(f"{folder.path}: begun in a training with {told}; use another out")
    for gone in (folder.tokenizer, folder.tokens, folder.rows, folder.proxy, folder.trajectories, folder.path / SAVED):
        remove(gone)
    write_json(path, training)


def _start(model: PreTrainedModel) -> Mapping[str, Any]:
    name = getattr(model.config, "_name_or_path", "") or type(model).__name__
    return {
        "model": name,
        "sha256": None,
        "architecture": type(model).__name__,
        "parameters": model.num_parameters(),
    }
