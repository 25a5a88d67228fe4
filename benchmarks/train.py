"""Training the proxy: ours beside transformers' own Trainer on padded batches of the same rows, in turns.

    python benchmarks/train.py --shape builtin --pool train.jsonl --rows 20000 --steps 60 --out R.json
    python benchmarks/train.py --shape 70m --model FOLDER --pool train.jsonl --rows 2000 --steps 3 --out R.json

Both train the same start on the same global batches with the same optimizer and schedule. Tokens per second count real
tokens only; the GEMM peak's share counts needed work only: no padding, no logits at prompt tokens.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from measure import gemm_peak, in_turns, median, ratio, save
from transformers import (
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from s2l.config import PoolSettings, ProxySettings, TokenSettings
from s2l.data.pool import read_pool
from s2l.data.tokens import fitting_texts, tokenize
from s2l.forecast.flops import amount_of, shape_of, training
from s2l.proxy import builtin, load
from s2l.proxy.plan import Plan, global_batches, make_plan
from s2l.proxy.quiet import quiet
from s2l.proxy.ranks import ALONE
from s2l.proxy.step import Stepper
from s2l.proxy.train import ProxyTrainer
from s2l.proxy.workers import workers_for
from s2l.scoring.precision import plain_kernels
from s2l.types import Tokens

MAX_LENGTH = 512


@dataclass(frozen=True)
class Task:
    """The rows, the start and the plan that both train by."""

    tokens: Tokens
    tokenizer: PreTrainedTokenizerFast
    start: PreTrainedModel
    plan: Plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=("builtin", "70m"), required=True)
    parser.add_argument("--model", type=Path, help="folder of the 70M model and its tokenizer")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the pool to draw the batches from")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    task = prepare(args)
    rows = np.concatenate(global_batches(task.tokens.ids, task.plan))
    real = int(task.tokens.lengths[rows].sum())
    ours, theirs = Run(task, ours_on), Run(task, padded_trainer_on)
    with quiet():
        seconds = in_turns({"ours": ours, "padded_trainer": theirs}, args.repeats)
    dtype = torch.bfloat16 if args.precision == "bfloat16" else torch.float32
    peak = gemm_peak(dtype)
    needed = training(shape_of(task.start), amount_of(taken(task.tokens, rows)))
    losses = np.array([ours.losses, theirs.losses])
    weights = [torch.cat([p.detach().flatten() for p in run.model.parameters()]) for run in (ours, theirs)]
    figures = {
        "shape": args.shape,
        "precision": args.precision,
        "batch_rows": task.plan.batch_size,
        "steps": args.steps,
        "workers": task.plan.workers,
        "tokens_per_row": round(real / len(rows), 1),
        "padding_of_the_peer": round(padded(task) / real, 3),
        "ratio": ratio(seconds["padded_trainer"], seconds["ours"]),
        "tokens_per_second": {name: round(real / median(times)) for name, times in seconds.items()},
        "gemm_peak_gflops": round(peak / 1e9),
        "peak_share": {name: round(needed / median(times) / peak, 3) for name, times in seconds.items()},
        "loss_first_last": [round(float(losses[0, 0]), 4), round(float(losses[0, -1]), 4)],
        "max_abs_loss_difference": float(np.abs(losses[0] - losses[1]).max()),
        "max_abs_weight_difference": float((weights[0] - weights[1]).abs().max()),
    }
    save(args.out, figures)


def prepare(args: argparse.Namespace) -> Task:
    """The pool's first rows in tokens, shuffled into batches by the plan's own key."""
    with TemporaryDirectory() as scratch:
        sample = Path(scratch) / args.pool.name
        lines = args.pool.read_bytes().split(b"\n")
        random.Random(0).shuffle(lines)
        sample.write_bytes(b"\n".join(line for line in islice(filter(None, lines), args.rows)) + b"\n")
        pool = read_pool(PoolSettings(paths=(str(sample),)))
        texts = fitting_texts(pool, TokenSettings())
        is_builtin = args.shape == "builtin"
        settings = ProxySettings(model="builtin" if is_builtin else str(args.model), precision=args.precision)
        tokenizer = builtin.fit_tokenizer(texts, settings.vocabulary) if is_builtin else load.load_tokenizer(args.model)
        tokens = tokenize(pool, tokenizer, TokenSettings(), builtin=is_builtin)
    start: PreTrainedModel = (
        builtin.build_model(settings, len(tokenizer), tokenizer.eos_token_id, MAX_LENGTH, 0)
        if is_builtin
        else load.load_pretrained(args.model, len(tokenizer), MAX_LENGTH)
    )
    settings = settings.model_copy(update={"batch_size": args.batch_size})
    threads = torch.get_num_threads()
    plan = make_plan(len(tokens), settings, batch_tokens=2048, threads=threads, device="cpu", seed=0)
    workers = workers_for(start, threads, plan.batch_size)
    return Task(tokens, tokenizer, start, replace(plan, steps=args.steps, saves=(), warmup_steps=0, workers=workers))


class Run:
    """One way to train: called, it trains the start anew; keeps the last model and its losses."""

    def __init__(self, task: Task, way: Callable[..., contextlib.AbstractContextManager[Trainer]]) -> None:
        self.task = task
        self.way = way

    def __call__(self) -> None:
        self.model = deepcopy(self.task.start)
        self.losses: list[float] = []
        with TemporaryDirectory() as scratch, self.way(self.task, self.model, Path(scratch)) as trainer:
            step = trainer.training_step

            def training_step(*given: Any, **named: Any) -> torch.Tensor:
                loss = step(*given, **named)
                self.losses.append(loss.item())
                return loss

            trainer.training_step = training_step
            trainer.train()


@contextlib.contextmanager
def ours_on(task: Task, model: PreTrainedModel, folder: Path) -> Iterator[Trainer]:
    with (
        plain_kernels(task.plan.device, task.plan.precision),
        contextlib.closing(Stepper(model, task.tokens, task.plan, ALONE)) as stepper,
    ):
        yield ProxyTrainer(stepper, folder, lambda _tokens: None)


@contextlib.contextmanager
def padded_trainer_on(task: Task, model: PreTrainedModel, folder: Path) -> Iterator[Trainer]:
    plan, tokens = task.plan, task.tokens
    rows = []
    for row in np.concatenate(global_batches(tokens.ids, plan)):
        span = slice(int(tokens.start_N[row]), int(tokens.start_N[row + 1]))
        ids = tokens.input_ids[span].astype(np.int64)
        rows.append({"input_ids": ids.tolist(), "labels": np.where(tokens.counted[span], ids, -100).tolist()})
    task.tokenizer.pad_token = task.tokenizer.pad_token or task.tokenizer.eos_token
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.batch_size,
        train_sampling_strategy="sequential",
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        warmup_steps=plan.warmup_steps,
        lr_scheduler_type="cosine",
        optim="adamw_torch_fused",
        use_cpu=True,
        bf16=plan.precision == "bfloat16",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model, arguments, DataCollatorForTokenClassification(task.tokenizer), train_dataset=rows)
    trainer.remove_callback(PrinterCallback)
    yield trainer


def padded(task: Task) -> int:
    """Tokens of the peer's batches with their padding."""
    lengths_N = task.tokens.lengths
    return sum(len(rows) * int(lengths_N[rows].max()) for rows in global_batches(task.tokens.ids, task.plan))


def taken(tokens: Tokens, rows: np.ndarray) -> Tokens:
    """The rows alone, each once, in id order."""
    rows = np.unique(rows)
    spans = [slice(int(tokens.start_N[row]), int(tokens.start_N[row + 1])) for row in rows]
    return Tokens(
        ids=tokens.ids[rows],
        input_ids=np.concatenate([tokens.input_ids[span] for span in spans]),
        counted=np.concatenate([tokens.counted[span] for span in spans]),
        start_N=np.concatenate([[0], np.cumsum(tokens.lengths[rows])]),
        truncated_N=tokens.truncated_N[rows],
    )


if __name__ == "__main__":
    logging.getLogger("transformers").setLevel(logging.ERROR)
    main()
