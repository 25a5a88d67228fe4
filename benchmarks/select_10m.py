"""Choosing among 10 million recorded rows, file to file: shards of sums → the verdict on every row.

    python benchmarks/select_10m.py --out benchmarks/results/select_10m-<hardware>-<date>.json

Made-up sums are stored first, not timed. Then: load, k-means (20 iterations), draw 11 %, write. The peer, in the same
run, on the same losses in memory: faiss.Kmeans on all rows, 20 iterations, and a draw by numpy, with no file and no
reason for any row.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numpy as np
from kmeans import CHECKPOINTS, CLUSTERS, ITERATIONS, decaying_losses
from measure import save, stage

from s2l.config import SelectSettings
from s2l.data.export import write_selection
from s2l.ids import id_order
from s2l.progress import Advance, Silent
from s2l.provenance import peak_memory
from s2l.selection.allocate import allocate
from s2l.selection.select import select
from s2l.threads import on_all_cores
from s2l.trajectories import store
from s2l.types import STATISTICS, Checkpoint, Recorded, Rows, Selection, Tokens, Trajectories


class Stopwatch(Silent):
    """Seconds of each stage that the library announces."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:  # noqa: ARG002
        start = time.perf_counter()
        yield lambda _units: None
        self.seconds[name] = round(time.perf_counter() - start, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--kernel", choices=("own", "faiss"), default="own")
    parser.add_argument("--scratch", type=Path, help="folder on a disk with 5 GB of room")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    stages: dict[str, dict[str, float]] = {}
    timed = partial(stage, stages)

    with TemporaryDirectory(dir=args.scratch) as scratch:
        folder = Path(scratch)
        rows, lengths_N = store_made_up_sums(args.rows, folder / "trajectories")
        before, stopwatch = peak_memory(), Stopwatch()
        trajectories = timed("load", lambda: store.load(folder / "trajectories", range(1, CHECKPOINTS + 1)))
        timed("read the losses", lambda: trajectories.sums["nll"])
        order = id_order(rows.ids)
        recorded = Recorded(trajectories, rows.source_N[order], rows.sources, lengths_N)
        settings = SelectSettings(budgets=("11%",), options={"iterations": ITERATIONS, "kernel": args.kernel})
        (selection,) = timed("cluster and draw", lambda: select(rows, recorded, settings, 0, progress=stopwatch))
        timed("write the verdicts", lambda: write_selection(rows, selection, recorded, folder / "selection.parquet"))
        file_bytes = (folder / "selection.parquet").stat().st_size
        seconds = sum(stage["seconds"] for stage in stages.values())
        peer = time_of_peer(trajectories, selection)
        shutil.rmtree(folder / "trajectories")
    save(
        args.out,
        {
            "rows": args.rows,
            "kernel": args.kernel,
            "seconds": round(seconds, 1),
            "stages": stages,
            "seconds_of_k_means_in_it": stopwatch.seconds["k-means"],
            "peak_memory_mib": stages["write the verdicts"]["peak_memory_mib"],
            "peak_memory_before_mib": before >> 20,
            "verdicts_bytes": file_bytes,
            "chosen": selection.budget,
            "iterations": selection.facts["iterations"],
            "inertia": round(selection.facts["inertia"], 1),
            **peer,
            "ratio_cluster_and_draw_to_peer": round(stages["cluster and draw"]["seconds"] / peer["seconds_peer"], 2),
        },
    )


def store_made_up_sums(n_rows: int, folder: Path) -> tuple[Rows, np.ndarray]:
    """Write the shards; the rows in a file order of their own, and their lengths in id order."""
    rng = np.random.default_rng(0)
    ids = np.frombuffer(rng.bytes(12 * n_rows).hex().encode(), dtype="S24")
    ids = ids[id_order(ids)]
    response_N = rng.integers(1, 9, n_rows)
    start_N = np.concatenate([[0], np.cumsum(response_N + 1)])
    counted = np.ones(start_N[-1], dtype=bool)
    counted[start_N[:-1]] = False
    tokens = Tokens(ids, np.zeros(start_N[-1], dtype=np.uint8), counted, start_N, np.zeros(n_rows, dtype=bool))
    sums_NT = decaying_losses(n_rows) * response_N[:, None].astype(np.float32)
    items = [
        item
        for step in range(1, CHECKPOINTS + 1)
        for item in store.work_items(n_rows, Checkpoint(step, Path(), "made-up"))
    ]

    def write(item: store.WorkItem) -> None:
        sums_n = sums_NT[item.rows.start : item.rows.stop, item.checkpoint.step - 1]
        store.write_item(item, folder, tokens, np.stack([sums_n] * len(STATISTICS)))

    for _ in on_all_cores(write, items):
        pass
    order = rng.permutation(n_rows)
    place_N = np.arange(n_rows)
    source_N = (place_N * 7919) % 5
    rows = Rows(
        ids=ids[order],
        occurrence_N=np.zeros(n_rows, dtype=np.int64),
        source_N=source_N,
        sources=("algebra", "code", "facts", "logic", "words"),
        file_N=np.zeros(n_rows, dtype=np.int64),
        files=("pool.jsonl",),
        row_N=place_N,
        line_N=place_N + 1,
    )
    return rows, response_N + 1


def time_of_peer(trajectories: Trajectories, selection: Selection) -> dict[str, float]:
    """faiss.Kmeans on all rows from its own random start, then as many rows drawn from each cluster as S2L does."""
    losses_NT = trajectories.losses_NT.astype(np.float32)
    start = time.perf_counter()
    fitted = faiss.Kmeans(CHECKPOINTS, CLUSTERS, niter=ITERATIONS, max_points_per_centroid=len(losses_NT))
    fitted.train(losses_NT)
    squared_N1, label_N1 = fitted.index.search(losses_NT, 1)
    label_N = label_N1[:, 0]
    counts_K = allocate(np.bincount(label_N, minlength=CLUSTERS), selection.budget)
    rng = np.random.default_rng(0)
    for cluster, count in enumerate(counts_K):
        rng.choice(np.flatnonzero(label_N == cluster), count, replace=False)
    seconds = round(time.perf_counter() - start, 2)
    return {"seconds_peer": seconds, "inertia_peer": round(float(squared_N1.sum(dtype=np.float64)), 1)}


if __name__ == "__main__":
    main()
