"""Peak memory of scoring, over the model and one batch: how little it grows with the number of rows.

Anonymous memory (RssAnon, Linux), every 5 ms: the tokens are mapped from a file, whose pages the system takes back at
will. Each size is measured in a process of its own, on made-up rows in the built-in shape.

    python benchmarks/memory.py --rows 20000 262039 --out R.json
"""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from measure import save

from s2l.config import ProxySettings
from s2l.data.tokens import load_tokens, save_tokens
from s2l.proxy import checkpoints
from s2l.proxy.builtin import build_model
from s2l.scoring.record import record_items
from s2l.scoring.score import Scorer
from s2l.trajectories import store
from s2l.types import Tokens

MIB = 2**20
BATCH_TOKENS = 4096


def main() -> None:
    """Measure every size and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 262_039])
    parser.add_argument("--length", type=int, default=92, help="mean tokens of a row, of which half count")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    measured = []
    for precision, rows in product(asked.precision, asked.rows):
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            measured.append(fresh.submit(measure, rows, asked.length, precision, asked.threads).result())
    figures = {
        "length": asked.length,
        "threads": asked.threads,
        "peak_over_model_and_one_batch_mib": max(size["over_mib"] for size in measured),
        "sizes": measured,
    }
    save(asked.out or Path(os.devnull), figures)


def measure(rows: int, length: int, precision: str, threads: int) -> dict[str, Any]:
    """MiB with the model loaded, after one batch, and at the peak of scoring all rows at one checkpoint."""
    settings = ProxySettings(model="builtin", precision=precision)
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "tokens.arrow"
        with ProcessPoolExecutor(1, get_context("spawn")) as aside:  # making them leaves nothing in this process
            for count, stored in ((rows, path), (BATCH_TOKENS // length, folder / "batch.arrow")):
                aside.submit(make_tokens, count, length, settings.vocabulary, stored).result()
        model = build_model(settings, settings.vocabulary, 0, 512, 0)
        checkpoint = checkpoints.save(model, folder, 1)
        del model
        scorer = Scorer(BATCH_TOKENS, torch.device("cpu"), precision, workers=threads)

        def scored(stored: Path, where: str) -> float:
            with peak() as seen:
                these = load_tokens(stored)
                items = iter(store.work_items(len(these), checkpoint))
                for _ in record_items(items, these, scorer, folder / where, str, lambda _n: None):
                    pass
            return seen.mib

        before = rss_anon()
        one_batch = scored(folder / "batch.arrow", "batch")
        every_row = scored(path, "all")
        tokens = int(load_tokens(path).start_N[-1])
    return {
        "rows": rows,
        "precision": precision,
        "tokens": tokens,
        "before_mib": round(before, 1),
        "model_and_one_batch_mib": round(one_batch, 1),
        "peak_mib": round(every_row, 1),
        "over_mib": round(every_row - one_batch, 1),
    }


def make_tokens(rows: int, length: int, vocabulary: int, path: Path) -> None:
    """Random rows of 2 to 2 · length - 2 tokens, the second half of which counts."""
    rng = np.random.default_rng(0)
    ids = np.array([b"%024x" % row for row in range(rows)])
    lengths_N = rng.integers(2, 2 * length - 1, rows)
    start_N = np.concatenate([[0], np.cumsum(lengths_N)])
    input_ids = rng.integers(1, vocabulary, start_N[-1]).astype(np.int32)
    counted = np.arange(start_N[-1]) >= (start_N[:-1] + (lengths_N + 1) // 2).repeat(lengths_N)
    save_tokens(Tokens(ids, input_ids, counted, start_N, np.zeros(rows, dtype=bool)), path)


@dataclass
class Peak:
    """The most seen so far."""

    mib: float = 0.0


@contextmanager
def peak() -> Iterator[Peak]:
    """The most anonymous memory of this process while the block runs."""
    seen, over = Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            seen.mib = max(seen.mib, rss_anon())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def rss_anon() -> float:
    """Anonymous resident memory of this process, MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(kib) * 1024 / MIB


if __name__ == "__main__":
    main()
