"""Losses that a training sees anyway beside recorded ones: what S2L draws from either, of one and the same training.

    python benchmarks/seen_losses.py --pool train.jsonl --seeds 3 --folder seen-runs --out R.json
    python benchmarks/seen_losses.py --pool train.jsonl --start FOLDER --seeds 3 --folder seen-runs --out R.json

For each seed the built-in proxy (or the model in FOLDER) is trained by transformers' Trainer with two recorders: one
scores the pool at twelve checkpoints, one takes the losses of the training's own passes, one an epoch. S2L draws from
the twelve, from those of them that end an epoch, and from the seen ones. Stopped, the same command goes on behind the
last seed that was recorded. The runs stay in the folder, for an experiment's `recorded`.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import datasets
import numpy as np
from jaxtyping import Bool, Float
from measure import save
from recorder import padded, row_of
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

import s2l
from s2l.config import PoolSettings, ProxySettings, SelectSettings, TokenSettings
from s2l.data.pool import read_pool
from s2l.data.tokens import fitting_texts, tokenize
from s2l.experiment.proxies import view
from s2l.pipeline import finished, recall
from s2l.progress import SILENT
from s2l.proxy import builtin, load
from s2l.proxy.quiet import quiet
from s2l.selection.select import select
from s2l.types import Recorded, Rows

CHECKPOINTS, EPOCHS, BATCH = 12, 3, 32
WAYS = ("recorded", "at epochs", "seen")
"""Losses scored at twelve checkpoints, at those of them that end an epoch, and seen in the training's own passes."""
BUDGETS = ("5%", "11%", "25%")
DRAWS = 3


@dataclass(frozen=True)
class Drawn:
    """What was drawn from one run: which rows, by budget and draw; the sentence that says whether there is signal."""

    kept_BDN: Bool[np.ndarray, "B D N"]
    signal: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", required=True)
    parser.add_argument("--start", type=Path, help="folder of the model that the proxy starts from; else fresh weights")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    drawn: dict[str, list[Drawn]] = {way: [] for way in (*WAYS, "random")}
    losses = []
    for seed in range(args.seeds):
        runs = recorded(args, seed)
        losses.append(last_losses(runs[0]))
        for way, run in zip(WAYS, runs, strict=True):
            drawn[way].append(drawn_from(run, "s2l"))
        drawn["random"].append(drawn_from(runs[0], "random"))
    found = {way: figures(of_way, drawn["recorded"], losses) for way, of_way in drawn.items()}
    save(args.out, {"seeds": args.seeds, "draws": DRAWS, "budgets": BUDGETS, "ways": found})


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
    read, settings = (
        read_pool(PoolSettings(paths=(args.pool,))),
        TokenSettings(max_length=args.max_length, template="short"),
    )
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


def read(run: Path) -> tuple[Rows, Recorded, str]:
    with finished(run) as (folder, made):
        rows, seen, strength = recall(folder, made, SILENT)
    return rows, seen, strength.sentence


def drawn_from(run: Path, method: str) -> Drawn:
    rows, seen, signal = read(run)
    kept = [
        [select(rows, seen, SelectSettings(method=method, budgets=(budget,)), draw)[0].kept_N for draw in range(DRAWS)]
        for budget in BUDGETS
    ]
    return Drawn(np.array(kept), signal)


def last_losses(run: Path) -> Float[np.ndarray, " N"]:
    """Of every row of the pool in file order, at the last checkpoint; nan where it has none."""
    rows, seen, _ = read(run)
    place_N, there_N = rows.stand_in(seen.trajectories.ids)
    return np.where(there_N, seen.trajectories.losses_NT[np.where(there_N, place_N, 0), -1], np.nan)


def figures(ours: list[Drawn], recorded: list[Drawn], losses: list[Float[np.ndarray, " N"]]) -> dict[str, object]:
    """Means over trainings and draws, for each budget; shares in percent of the subset."""
    of_one = [(ours[k].kept_BDN, recorded[k].kept_BDN) for k in range(len(ours))]
    pairs = [(a, b) for a, b in product(range(DRAWS), repeat=2) if a != b]
    trainings = [(a, b) for a, b in product(range(len(ours)), repeat=2) if a != b]

    def with_recorded(draws: list[tuple[int, int]]) -> list[float]:
        return mean([shared(mine[:, a], theirs[:, b]) for mine, theirs in of_one for a, b in draws])

    return {
        "shared_with_recorded_same_draw": with_recorded([(draw, draw) for draw in range(DRAWS)]),
        "shared_with_recorded_other_draw": with_recorded(pairs),
        "shared_with_itself_other_training_and_draw": mean(
            [shared(ours[k].kept_BDN[:, a], ours[other].kept_BDN[:, b]) for k, other in trainings for a, b in pairs]
        ),
        "loss_at_the_end": mean(
            [[np.nanmean(loss_N[kept_N]) for kept_N in one.kept_BDN[:, draw]]
             for one, loss_N in zip(ours, losses, strict=True) for draw in range(DRAWS)]
        ),
        "pool_loss_at_the_end": round(float(np.mean([np.nanmean(loss_N) for loss_N in losses])), 3),
        "signal": [one.signal for one in ours],
    }  # fmt: skip


def shared(one_BN: Bool[np.ndarray, "B N"], other_BN: Bool[np.ndarray, "B N"]) -> list[float]:
    return [100 * (one_N & other_N).sum() / one_N.sum() for one_N, other_N in zip(one_BN, other_BN, strict=True)]


def mean(values: list[list[float]]) -> list[float]:
    return [round(float(value), 3) for value in np.mean(values, axis=0)] if values else []


if __name__ == "__main__":
    main()
