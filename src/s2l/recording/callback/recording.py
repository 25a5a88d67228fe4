"""A recording in a run's folder: begun before the first step, one checkpoint after the other, finished at the end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from s2l import manifest
from s2l.config import SEEN, RunSettings
from s2l.data.rows_file import load_rows, place_of
from s2l.data.tokens import load_tokens
from s2l.errors import RunFolderError, SettingsError
from s2l.files import read_record, remove, write_json, written_whole
from s2l.pipeline import read, to_recorded, to_tokens
from s2l.progress import Progress
from s2l.proxy import checkpoints
from s2l.proxy.load import check_room
from s2l.proxy.memory import enough_memory
from s2l.proxy.plan import PLAN, Plan
from s2l.proxy.stage import BATCH_TOKENS, BATCH_TOKENS_GPU, START
from s2l.recording.callback.processes import Processes
from s2l.recording.callback.seen import OWN_ROWS, Contents, Seen, check_rows, whole_epoch
from s2l.recording.callback.weights import digest, plain
from s2l.run_folder import RunFolder
from s2l.scoring.batching import collate, tokens_at_once
from s2l.scoring.forward import choose_path
from s2l.scoring.record import score_within_memory
from s2l.scoring.setup import SCORER, kept_scorer, scorer_for
from s2l.selection.compare import RECORD
from s2l.trajectories import store
from s2l.trajectories.store import WorkItem
from s2l.types import Checkpoint, Tokens

UNFINISHED = "seen"
"""Folder of what was seen of epochs that are not over."""

if TYPE_CHECKING:
    import datasets
    from transformers import TrainerState, TrainingArguments


@dataclass(frozen=True)
class Recording:
    """What is the same at all checkpoints: where the sums go, of which rows, and who scores them."""

    folder: RunFolder
    settings: RunSettings
    tokens: Tokens
    plan: Plan
    processes: Processes
    progress: Progress

    @property
    def steps(self) -> tuple[int, ...]:
        """At which the sums are recorded."""
        return ((0,) if self.settings.proxy.initial_checkpoint else ()) + self.plan.saves

    def digest_at(self, step: int) -> str | None:
        """Of the weights that the step was recorded from, None where it is not recorded."""
        path = checkpoints.folder_of(self.folder.proxy, step) / checkpoints.RECORD
        return str(read_record(path)["sha256"]) if path.is_file() else None


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
    if not folder.tokenizer.is_dir():
        with written_whole(folder.tokenizer) as part:
            tokenizer.save_pretrained(part)
    tokens = to_tokens(pool, settings, folder, progress)
    if not (folder.proxy / PLAN).is_file():
        plan.write(folder.proxy)
    before = Plan.from_json(read_record(folder.proxy / PLAN))
    if (before.steps, before.saves) != (plan.steps, plan.saves):
        raise RunFolderError(
            f"{folder.path}: begun in a training of {before.steps} steps, this one has {plan.steps}; use another out"
        )
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


def check_past(recording: Recording, step: int) -> None:
    """RunFolderError where the training goes on at `step` and an earlier checkpoint was not recorded."""
    gone = [past for past in recording.steps if step and past <= step and recording.digest_at(past) is None]
    if gone:
        raise RunFolderError(
            f"{recording.folder.path}: the training goes on at step {step}, but step {gone[0]} was not recorded; go on "
            "from a checkpoint before it, or train from the start with another out"
        )


def prepare_seen(recording: Recording, model: torch.nn.Module, loader: Any, step: int) -> Seen:
    """What will watch the training from `step` on, with what was seen of its epoch before.

    Raises SettingsError where the training's rows are not the pool's, or its passes cannot be watched.
    """
    if recording.processes.leads:
        check_rows(contents := Contents(recording.tokens), getattr(loader, "dataset", None))
    else:
        contents = Contents(recording.tokens)
    own = plain(model)
    path = choose_path(own, collate(recording.tokens, np.array([0])).to(own.device))
    seen = Seen(contents, own, path)
    if step and step not in recording.steps:
        seen.go_on(_seen_path(recording, step))
    return seen


def keep_seen(recording: Recording, seen: Seen, step: int, trained: Path) -> None:
    """Keep what was seen until `step`, and drop what belongs to checkpoints that the trainer has dropped."""
    if step not in recording.steps:
        seen.keep(_seen_path(recording, step))
    for path in (recording.folder.path / UNFINISHED).glob(f"*-rank-{recording.processes.rank}.parquet"):
        if not (trained / f"checkpoint-{int(path.name.split('-')[1])}").is_dir():
            path.unlink()


def _seen_path(recording: Recording, step: int) -> Path:
    return recording.folder.path / UNFINISHED / f"step-{step:08d}-rank-{recording.processes.rank}.parquet"


def record_step(recording: Recording, model: PreTrainedModel, step: int, seen: Seen | None = None) -> None:
    """Score this process's shards by the model as it is, or take what was `seen` of the epoch that ends here.

    What is there from the same weights is kept. Raises RunFolderError where the folder is finished and was recorded
    from other weights.
    """
    folder, processes = recording.folder, recording.processes
    checkpoint = Checkpoint(step, checkpoints.folder_of(folder.proxy, step), digest(model))
    with processes.together():
        if processes.leads:
            _make_room(recording, checkpoint)
    items = store.work_items(len(recording.tokens), checkpoint)
    if seen is not None:
        with processes.together():
            everything = seen.taken()
        everywhere = processes.gather(everything)
        with processes.together():
            if processes.leads:
                _write_epoch(recording, everywhere, seen.known, items)
    else:
        mine = items[processes.rank :: processes.world]
        with processes.together(), folder.timed(RECORD) if processes.leads else nullcontext():
            _score(recording, model, [item for item in mine if not _is_done(item, recording)])
    if len(set(processes.gather(checkpoint.sha256))) > 1:
        raise RunFolderError(f"{folder.path}: the processes hold different weights at step {step}")
    with processes.together():
        if processes.leads:
            record = {"step": step, "sha256": checkpoint.sha256, "weights": False}
            write_json(checkpoint.path / checkpoints.RECORD, record)


def finish(recording: Recording) -> None:
    """Say whether there is signal, and complete the run's folder; nothing is drawn from it yet."""
    folder = recording.folder
    if folder.manifest.is_file():
        return
    rows, lengths_N = load_rows(folder.rows)
    trajectories = store.load(folder.trajectories, recording.steps)
    _, strength = to_recorded(trajectories, rows, lengths_N, recording.settings.seed, folder, recording.progress)
    write_json(folder.manifest, manifest.of_run(recording.settings, folder, rows, recording.tokens, strength, ()))
    remove(folder.path / UNFINISHED)


def epoch_ends(args: TrainingArguments, state: TrainerState, loader: Any) -> tuple[int, ...]:
    """The last step of every whole epoch; SettingsError where there is none, or it cannot be known."""
    if args.torch_compile or args.n_gpu > 1:
        raise SettingsError(
            "TrajectoryRecorder: losses='seen' watches passes of a model on one device in each process, not compiled; "
            "losses='recorded' does without"
        )
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


def _start(model: PreTrainedModel) -> Mapping[str, Any]:
    name = getattr(model.config, "_name_or_path", "") or type(model).__name__
    return {
        "model": name,
        "sha256": None,
        "architecture": type(model).__name__,
        "parameters": model.num_parameters(),
    }


def _make_room(recording: Recording, checkpoint: Checkpoint) -> None:
    """Drop what an earlier attempt recorded at this step from other weights, if the run is not finished."""
    before = recording.digest_at(checkpoint.step)
    if before in {None, checkpoint.sha256}:
        return
    folder = recording.folder
    if folder.manifest.is_file():
        raise RunFolderError(
            f"{folder.path}: finished, and step {checkpoint.step} was recorded from other weights; use another out"
        )
    remove(checkpoint.path)
    remove(folder.signal)


def _is_done(item: WorkItem, recording: Recording) -> bool:
    """Whether the shard is there, from the same weights; one from others, or damaged, is recorded anew."""
    try:
        return store.is_done(item, recording.folder.trajectories, recording.tokens.ids)
    except RunFolderError:
        return False


def _write_epoch(
    recording: Recording,
    seen: list[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "S n"]]],
    known: Contents,
    items: list[WorkItem],
) -> None:
    folder, tokens = recording.folder, recording.tokens
    sums_SN, unseen_N = whole_epoch(seen, known.first_N)
    if unseen_N.any():
        place = place_of(folder.rows, int(np.flatnonzero(unseen_N)[0]))
        raise SettingsError(
            f"{unseen_N.sum():,} of the pool's {len(tokens):,} rows were not in the training's batches of this epoch, "
            f"the first {place}; {OWN_ROWS}"
        )
    for item in items:
        if not _is_done(item, recording):
            sums_Sn = sums_SN[:, item.rows.start : item.rows.stop].astype(np.float32)
            store.write_item(item, folder.trajectories, tokens, sums_Sn)


def _score(recording: Recording, model: PreTrainedModel, items: list[WorkItem]) -> None:
    folder, tokens, plan = recording.folder, recording.tokens, recording.plan
    threads = recording.settings.proxy.threads or torch.get_num_threads()
    scorer = replace(kept_scorer(plan, folder.trajectories), device=model.device, workers=threads)
    place = partial(place_of, folder.rows)
    total = sum(int(tokens.start_N[item.rows.stop] - tokens.start_N[item.rows.start]) for item in items)
    with enough_memory(scorer.batch_tokens), recording.progress.stage(RECORD, total, "tokens") as advance:
        for item in items:
            rows = np.arange(item.rows.start, item.rows.stop)
            sums_Sn, scorer = score_within_memory(model, tokens, rows, scorer, folder.trajectories, advance, place)
            store.write_item(item, folder.trajectories, tokens, sums_Sn)
