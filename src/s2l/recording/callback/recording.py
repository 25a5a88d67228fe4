"""A recording in a run's folder: begun before the first step, one checkpoint after the other, finished at the end."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l import manifest
from s2l.config import RunSettings
from s2l.data.rows_file import load_rows, place_of
from s2l.errors import RunFolderError, SettingsError
from s2l.files import read_record, remove, write_json
from s2l.pipeline import to_recorded
from s2l.progress import Progress
from s2l.proxy import checkpoints
from s2l.proxy.memory import enough_memory
from s2l.proxy.plan import Plan
from s2l.recording.callback.processes import Processes
from s2l.recording.callback.saved import SAVED, drop_outdated, keep, path_of
from s2l.recording.callback.seen import OWN_ROWS, Contents, Seen, whole_epoch
from s2l.recording.callback.weights import digest
from s2l.run_folder import RunFolder
from s2l.scoring.record import score_within_memory
from s2l.scoring.setup import kept_scorer
from s2l.selection.compare import RECORD
from s2l.trajectories import store
from s2l.trajectories.store import WorkItem
from s2l.types import STATISTICS, Checkpoint, Tokens

NOTHING_SEEN = np.empty(0, dtype=np.int64), np.empty((len(STATISTICS), 0))


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


def record_step(recording: Recording, model: PreTrainedModel, step: int, seen: Seen | None = None) -> None:
    """Score this process's shards by the model as it is, or take what was `seen` of the epoch that ends here.

    What is there from the same weights is kept. Raises RunFolderError where the folder is finished and was recorded
    from other weights.
    """
    folder, processes = recording.folder, recording.processes
    with processes.together():
        checkpoint = Checkpoint(step, checkpoints.folder_of(folder.proxy, step), digest(model))
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


def keep_beside(recording: Recording, model: PreTrainedModel, seen: Seen | None, step: int, trained: Path) -> None:
    """Keep what a training that goes on from the trainer's checkpoint of this step needs; see `saved`."""
    processes, run = recording.processes, recording.folder.path
    path = path_of(run, step, processes.rank)
    with processes.together():
        if seen is not None and step not in recording.steps:
            keep(path, digest(model), trained, *seen.so_far())
        elif processes.leads:
            keep(path, digest(model), trained, *NOTHING_SEEN)
        drop_outdated(run, processes.rank, step)


def conclude(recording: Recording, step: int) -> None:
    """Complete the run's folder at the end of the training; SettingsError where it ended at `step`, too early."""
    processes = recording.processes
    with processes.together():
        if processes.leads:
            done = sum(recording.digest_at(step) is not None for step in recording.steps)
            if done < len(recording.steps):
                raise SettingsError(
                    f"the training ended at step {step} of {recording.plan.steps}, with {done} of "
                    f"{len(recording.steps)} checkpoints recorded; go on with the training to finish the recording"
                )
            finish(recording)


def finish(recording: Recording) -> None:
    """Say whether there is signal, and complete the run's folder; nothing is drawn from it yet."""
    folder = recording.folder
    if folder.manifest.is_file():
        return
    rows, lengths_N = load_rows(folder.rows)
    trajectories = store.load(folder.trajectories, recording.steps)
    _, strength = to_recorded(trajectories, rows, lengths_N, recording.settings.seed, folder, recording.progress)
    write_json(folder.manifest, manifest.of_run(recording.settings, folder, rows, recording.tokens, strength, ()))
    remove(folder.path / SAVED)


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
        cut = int(tokens.truncated_N[unseen_N].sum())
        longest = recording.settings.tokens.max_length
        raise SettingsError(
            f"{unseen_N.sum():,} of the pool's {len(tokens):,} rows were not in the training's batches of this epoch, "
            f"the first {place}; "
            + (f"{cut:,} of them are cut at max_length={longest}: give the training's; " if cut else "")
            + OWN_ROWS
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
