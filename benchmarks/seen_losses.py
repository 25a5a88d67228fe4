"""Losses that a training sees anyway beside recorded ones: what S2L draws from either, of one and the same training.

    python benchmarks/seen_losses.py --pool train.jsonl --seeds 3 --folder seen-runs --out R.json
    python benchmarks/seen_losses.py --pool train.jsonl --seeds 3 --folder seen-runs --out R.json \
        --target FOLDER --heldout heldout.jsonl

For each seed the built-in proxy is trained by transformers' Trainer with two recorders: one scores the pool at twelve
checkpoints, one takes the losses of the training's own passes, one an epoch. S2L draws from the twelve, from those of
them that end an epoch, and from the seen ones. With a target, it is fine-tuned on each subset and on a random one, and
judged on held-out rows. Stopped, the same command goes on behind the last seed that was recorded.
"""

from __future__ import annotations

import argparse
import logging
from itertools import combinations
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from measure import save
from recorder import padded, row_of
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

import s2l
from s2l.config import PoolSettings, ProxySettings, SelectSettings, TokenSettings
from s2l.data.pool import read_pool
from s2l.data.tokens import fitting_texts, tokenize
from s2l.experiment.proxies import view
from s2l.files import read_record
from s2l.look.verdicts import read_verdicts
from s2l.progress import SILENT
from s2l.proxy import builtin, load
from s2l.proxy.quiet import quiet
from s2l.trajectories import store

CHECKPOINTS, EPOCHS, BATCH = 12, 3, 32
WAYS = ("recorded at 12 checkpoints", "recorded at the ends of epochs", "seen, one an epoch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", required=True)
    parser.add_argument("--start", type=Path, help="folder of the model that the proxy starts from; else fresh weights")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", default="11%")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    subsets: dict[str, list[dict[str, Any]]] = {way: [] for way in (*WAYS, "random")}
    for seed in range(args.seeds):
        for way, run in zip(WAYS, recorded(args, seed), strict=True):
            subsets[way].append(drawn(run, "s2l", args.budget, seed))
        subsets["random"].append(drawn(run, "random", args.budget, seed))
    save(args.out, figures(subsets, args))


def recorded(args: argparse.Namespace, seed: int) -> list[Path]:
    """Run folders of the seed, one for each way."""
    folder = args.folder / f"seed-{seed}"
    runs = [folder / "recorded", folder / "at-epochs", folder / "seen"]
    if not all((run / "manifest.json").is_file() for run in (runs[0], runs[2])):
        with quiet():
            train(args, seed, runs[0], runs[2])
    view(runs[0], tuple(range(CHECKPOINTS // EPOCHS, CHECKPOINTS + 1, CHECKPOINTS // EPOCHS)), runs[1])
    return runs


def train(args: argparse.Namespace, seed: int, scored: Path, seen: Path) -> None:
    read, settings = read_pool(PoolSettings(paths=(args.pool,))), TokenSettings(max_length=args.max_length, template="short")
    set_seed(seed)
    if args.start:
        tokenizer = load.load_tokenizer(args.start)
        model = load.load_pretrained(args.start, len(tokenizer), args.max_length)
    else:
        tokenizer = builtin.fit_tokenizer(fitting_texts(read, settings), 4096)
        proxy = ProxySettings(model="builtin")
        model = builtin.build_model(proxy, len(tokenizer), tokenizer.eos_token_id, args.max_length, seed)
    tokens = tokenize(read, tokenizer, settings, builtin=not args.start)
    recorders = [
        s2l.TrajectoryRecorder(
            args.pool, out, losses=losses, tokenizer=tokenizer, template="short", max_length=args.max_length, **more
        )
        for out, losses, more in ((scored, "recorded", {"checkpoints": CHECKPOINTS}), (seen, "seen", {}))
    ]
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(scored.with_name("trained")),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            learning_rate=args.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.03,
            seed=seed,
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=False,
        ),
        train_dataset=datasets.Dataset.from_list([row_of(tokens, row) for row in range(len(tokens))]),
        data_collator=padded,
        callbacks=recorders,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def drawn(run: Path, method: str, budget: str, seed: int) -> dict[str, Any]:
    """The subset's ids, and the pool's loss at the end of the training in them."""
    s2l.draw(run, SelectSettings(method=method, budgets=(budget,)), seed)
    verdicts = read_verdicts(next(iter((run / "subsets").glob(f"{method}-*"))))
    return {"ids": verdicts, "run": run}


if __name__ == "__main__":
    main()
