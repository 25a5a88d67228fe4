"""What TrajectoryRecorder adds to a training, next to recording the same losses afterwards from saved checkpoints.

    python benchmarks/recorder.py --pool train.jsonl --rows 2000 --out R.json
    python benchmarks/recorder.py --pool train.jsonl --model FOLDER --rows 2000 --out R.json

transformers' Trainer trains one start on the same batches in all jobs, which run in turns in one process: without and
with the recorder, with one that takes the losses seen in the training's own passes, and with what saves the model at
the same steps; then those checkpoints are scored.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
import torch
from measure import in_turns, median, ratio, save
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import s2l
from s2l.config import PoolSettings, ProxySettings, TokenSettings
from s2l.data.pool import read_pool
from s2l.data.tokens import fitting_texts, tokenize
from s2l.progress import SILENT
from s2l.proxy import builtin, checkpoints, load
from s2l.proxy.plan import Plan
from s2l.proxy.quiet import quiet
from s2l.recording.callback.begin import plan_of
from s2l.scoring.record import record
from s2l.types import Checkpoint, Tokens

MAX_LENGTH = 512


@dataclass(frozen=True)
class Task:
    """What is trained on which rows, and where everything goes."""

    start: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    pool: datasets.Dataset
    tokens: Tokens
    arguments: TrainingArguments
    checkpoints: int
    folder: Path


class Save(TrainerCallback):
    """What one would do without the recorder: save the model at the same fractions."""

    def __init__(self, folder: Path, wanted: int) -> None:
        self.folder, self.wanted, self.made = folder, wanted, list[Checkpoint]()

    def on_step_end(self, _args: Any, state: Any, _control: Any, model: Any = None, **_given: Any) -> None:
        if state.global_step in checkpoints.schedule(state.max_steps, self.wanted):
            self.made.append(checkpoints.save(model, self.folder, state.global_step))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", required=True)
    parser.add_argument("--model", type=Path, help="folder of a model and its tokenizer; else the built-in proxy's")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--checkpoints", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with TemporaryDirectory() as folder, quiet():
        task = prepare(args, Path(folder))
        jobs = jobs_of(task)
        seconds = in_turns(jobs, args.repeats)
    plain = seconds["plain"]
    afterwards = [saved + scored for saved, scored in zip(seconds["saving"], seconds["scoring"], strict=True)]
    figures = {
        "rows": len(task.tokens),
        "tokens": int(task.tokens.start_N[-1]),
        "parameters": task.start.num_parameters(),
        "epochs": args.epochs,
        "checkpoints": args.checkpoints,
        "seconds": {name: median(values) for name, values in seconds.items()},
        "with_recorder_to_plain": ratio(seconds["recorder"], plain),
        "seeing_to_plain": ratio(seconds["seeing"], plain),
        "saved_and_scored_afterwards_to_plain": ratio(afterwards, plain),
    }
    save(args.out, figures)


def prepare(args: argparse.Namespace, folder: Path) -> Task:
    read = read_pool(PoolSettings(paths=(args.pool,)))
    settings = TokenSettings(max_length=MAX_LENGTH, template="auto" if args.model else "short")
    if args.model:
        tokenizer = load.load_tokenizer(args.model)
        start = load.load_pretrained(args.model, len(tokenizer), MAX_LENGTH)
    else:
        tokenizer = builtin.fit_tokenizer(fitting_texts(read, settings), 4096)
        end = tokenizer.eos_token_id
        start = builtin.build_model(ProxySettings(model="builtin"), len(tokenizer), end, MAX_LENGTH, 0)
    every = tokenize(read, tokenizer, settings, builtin=not args.model)
    pool = datasets.Dataset.from_list([row_of(every, row) for row in range(min(args.rows, len(every)))])
    arguments = TrainingArguments(
        output_dir=str(folder / "trained"),
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch_size,
        learning_rate=1e-4,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
    )
    tokens = every.of(np.arange(len(pool)))
    return Task(start, tokenizer, pool, tokens, arguments, args.checkpoints, folder)


def row_of(tokens: Tokens, row: int) -> dict[str, list[int]]:
    span = slice(*tokens.start_N[row : row + 2])
    labels = np.where(tokens.counted[span], tokens.input_ids[span], -100)
    return {"input_ids": tokens.input_ids[span].tolist(), "labels": labels.tolist()}


def padded(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    ids, labels = ([torch.tensor(row[name]) for row in rows] for name in ("input_ids", "labels"))
    return {
        "input_ids": pad(ids, batch_first=True),
        "labels": pad(labels, batch_first=True, padding_value=-100),
        "attention_mask": pad([torch.ones_like(row) for row in ids], batch_first=True),
    }


def jobs_of(task: Task) -> dict[str, Callable[[], Any]]:
    """Every call has folders of its own, so that nothing is there already."""
    numbers = count()
    saved: list[tuple[list[Checkpoint], Plan]] = []

    def saving() -> None:
        keep = Save(task.folder / f"saved-{next(numbers)}", task.checkpoints)
        trainer = train(task, keep)
        settings = recorder(task, next(numbers)).settings
        plan = plan_of(trainer.args, trainer.state, settings, trainer.model, len(task.tokenizer))
        saved.append((keep.made, plan))

    def scoring() -> None:
        made, plan = saved[-1]
        record(task.tokens, made, plan, task.folder / f"scored-{next(numbers)}", SILENT, str)

    return {
        "plain": lambda: train(task),
        "recorder": lambda: train(task, recorder(task, next(numbers))),
        "seeing": lambda: train(task, recorder(task, next(numbers), losses="seen")),
        "saving": saving,
        "scoring": scoring,
    }


def recorder(task: Task, number: int, losses: str = "recorded") -> s2l.TrajectoryRecorder:
    of_scoring = {"checkpoints": task.checkpoints} if losses == "recorded" else {}
    return s2l.TrajectoryRecorder(
        task.pool,
        task.folder / f"run-{number}",
        losses=losses,
        tokenizer=task.tokenizer,
        max_length=MAX_LENGTH,
        **of_scoring,
    )


def train(task: Task, *callbacks: TrainerCallback) -> Trainer:
    trainer = Trainer(
        model=deepcopy(task.start),
        args=task.arguments,
        train_dataset=task.pool,
        data_collator=padded,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


if __name__ == "__main__":
    main()
