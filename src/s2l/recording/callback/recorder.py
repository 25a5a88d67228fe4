"""TrajectoryRecorder: a callback that records the losses of a pool while a Trainer trains, without checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from s2l.config import RECORDED, SEEN, RunSettings
from s2l.errors import S2LError, SettingsError, quoting_rows
from s2l.flags import FLAGS, validated, with_flags
from s2l.progress import SILENT, Progress
from s2l.recording.callback.begin import check_past, epoch_ends, opened, plan_of, prepare, to_see
from s2l.recording.callback.processes import Processes, joined
from s2l.recording.callback.recording import Recording, conclude, keep_beside, record_step
from s2l.recording.callback.seen import Seen
from s2l.recording.callback.unchanged import unchanged
from s2l.recording.callback.weights import plain, refuse_shards, use_own_forward
from s2l.run_folder import RunFolder, hold

if TYPE_CHECKING:
    from collections.abc import Mapping

IN_MEMORY = "memory"
OF_SCORING = {"checkpoints", "initial-checkpoint", "precision", "batch-tokens", "threads", "seed", "examples"}
TAKEN = sorted(
    OF_SCORING | {flag for flag, path in FLAGS.items() if path.startswith(("pool.", "tokens.")) and flag != "tokenizer"}
)
"""Flags of `s2l run` that a recorder takes."""
KINDS = {"recorded": RECORDED, "seen": SEEN}
OF_CHECKPOINTS = ("checkpoints", "initial_checkpoint", "initial-checkpoint")
PAPERS_BUDGET = "11%"
GOES_ON = "no more is recorded, the training goes on"
_held: dict[Path, ExitStack] = {}
"""Locks of recordings; one whose training was interrupted in this process gives way to the next."""


class TrajectoryRecorder(TrainerCallback):
    """Callback for `transformers.Trainer` and TRL's `SFTTrainer`: leaves a run's folder that `s2l select` draws from.

    pool: as for `s2l.select`; rows of text, or of `input_ids` (and `labels`). out: the folder; with several processes
    all must reach it. tokenizer: the trainer's own if not given. flags: those of `s2l run` that concern the pool, the
    template and the checkpoints, with `_` for `-`, such as max_length=1024, checkpoints=12 or columns={...}.
    losses: "recorded", by scoring the pool at each checkpoint; or "seen", those of the training's own forward passes,
    one for each epoch, with its dropout, each row at another step. These cost no pass; the pool's rows must be among
    the training's, token for token.

    The training is as it is without: what it draws at random, its gradients, its losses. At its beginning errors of
    `s2l.errors` are raised; later ones end the recording with a warning, and the training goes on.
    """

    def __init__(
        self,
        pool: str | Path | Sequence[str | Path] | datasets.Dataset,
        out: str | Path,
        *,
        losses: str = "recorded",
        tokenizer: PreTrainedTokenizerBase | None = None,
        progress: Progress = SILENT,
        **flags: Any,
    ) -> None:
        self.settings = _settings(pool, losses, flags)
        self.out = Path(out)
        self.dataset = pool if isinstance(pool, datasets.Dataset) else None
        self.tokenizer = tokenizer
        self.progress = progress
        self.recording: Recording | None = None
        self.seen: Seen | None = None
        self.kept: int | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **given: Any,
    ) -> None:
        """Read and tokenize the pool, on the first process; record the losses before training if that was asked."""
        model = plain(given["model"])
        refuse_shards(model, args)
        tokenizer = self.tokenizer or given.get("processing_class")
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise SettingsError("TrajectoryRecorder: tokenizer=… is needed, a fast one: the trainer has none")
        loader = given.get("train_dataloader")
        saves = epoch_ends(args, state, loader) if self.settings.proxy.model == SEEN else None
        plan = plan_of(args, state, self.settings, model, len(tokenizer), saves)
        self._see_no_more()
        self.kept = None
        processes = joined()
        try:
            with unchanged(given["model"]), quoting_rows(self.settings.examples):
                use_own_forward(model)
                with processes.together():
                    if processes.leads:
                        folder = _hold(self.out)
                        prepare(folder, self.settings, self.dataset, tokenizer, model, plan, self.progress)
                with processes.together():
                    self.recording = opened(self.out, self.settings, processes, self.progress)
                    check_past(self.recording, model, state.global_step)
                    if self.settings.proxy.model == SEEN:
                        self.seen = to_see(self.recording, given["model"], loader, state.global_step)
        except S2LError:
            self.recording = None
            self._leave(processes)
            raise
        if self.seen is not None:
            self.seen.watch(given["model"], state)
        self._record(given["model"], state.global_step, only=0)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **given: Any,
    ) -> None:
        """Record the losses at a checkpoint; keep what belongs beside one that the trainer is about to save."""
        step, model = state.global_step, given["model"]
        self._record(model, step)
        if control.should_save:
            self._keep(model, step, args)
        recording = self.recording
        if recording and recording.processes.world == 1 and self.seen and self.seen.error:
            self._stop(recording, self.seen.error)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **given: Any,
    ) -> None:
        """The same where another callback asked for the saving."""
        self._keep(given["model"], state.global_step, args)

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **given: Any,
    ) -> None:
        """Complete the folder, if all checkpoints are recorded."""
        if self.recording is None:
            return
        recording = self.recording
        self._attempt(given["model"], partial(conclude, step=state.global_step), "the recording is not finished")
        if self.recording is not None:
            self._see_no_more()
            self.recording = None
            self._leave(recording.processes)

    def _record(self, model: Any, step: int, only: int | None = None) -> None:
        recording = self.recording
        if recording is None or step not in recording.steps or only not in {None, step}:
            return

        def record(recording: Recording) -> None:
            own: PreTrainedModel = plain(model)
            use_own_forward(own)
            record_step(recording, own, step, self.seen)

        self._attempt(model, record)

    def _keep(self, model: Any, step: int, args: TrainingArguments) -> None:
        trained = Path(args.output_dir or ".")
        if self.kept == step:
            return
        self.kept = step
        self._attempt(model, lambda recording: keep_beside(recording, plain(model), self.seen, step, trained))

    def _attempt(self, model: Any, job: Callable[[Recording], None], said: str = GOES_ON) -> None:
        """Do it, and leave the training as it was; what goes wrong ends the recording, on every process."""
        recording, wrong = self.recording, None
        if recording is None:
            return
        with unchanged(model), quoting_rows(self.settings.examples):
            try:
                job(recording)
            except S2LError as error:
                wrong = error
        if wrong is not None:
            self._stop(recording, wrong, said)

    def _stop(self, recording: Recording, why: S2LError, said: str = GOES_ON) -> None:
        self.recording = None
        self._see_no_more()
        self._leave(recording.processes)
        warnings.warn(f"{self.out}: {said}: {why}", stacklevel=2)

    def _see_no_more(self) -> None:
        if self.seen is not None:
            self.seen.close()
            self.seen = None

    def _leave(self, processes: Processes) -> None:
        if processes.leads:
            _release(self.out)
        processes.part()


def _settings(pool: Any, losses: str, flags: Mapping[str, Any]) -> RunSettings:
    if losses not in KINDS:
        raise SettingsError(f"TrajectoryRecorder: losses={losses!r}: write 'recorded' or 'seen'")
    if losses == SEEN and (told := next((name for name in flags if name in OF_CHECKPOINTS), None)):
        raise SettingsError(f"TrajectoryRecorder: losses='seen' has a checkpoint for each epoch: leave out {told}")
    given = {name.replace("_", "-"): value for name, value in flags.items()}
    for flag in given:
        if flag not in TAKEN:
            raise TypeError(
                f"TrajectoryRecorder() got an unexpected keyword argument '{flag.replace('-', '_')}'; it takes: "
                + ", ".join(name.replace("-", "_") for name in TAKEN)
            )
    if isinstance(pool, datasets.Dataset) and "input_ids" in pool.column_names:
        given.setdefault("format", "tokenized")
    one = isinstance(pool, str | Path)
    paths = (IN_MEMORY,) if isinstance(pool, datasets.Dataset) else (str(pool),) if one else tuple(map(str, pool))
    values = with_flags({}, {**given, "budget": (PAPERS_BUDGET,), "proxy": KINDS[losses], "tokenizer": RECORDED})
    return validated({**values, "pool": {**values.get("pool", {}), "paths": paths}})


def _hold(path: Path) -> RunFolder:
    """The folder, for this process alone until `_release`."""
    _release(path)
    with ExitStack() as stack:
        folder = stack.enter_context(hold(path))
        _held[path.resolve()] = stack.pop_all()
    return folder


def _release(path: Path) -> None:
    held = _held.pop(path.resolve(), None)
    if held is not None:
        held.close()
