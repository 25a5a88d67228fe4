"""20 iterations of k-means, K = 100: ours, with faiss's search, faiss.Kmeans on all rows and scikit-learn's Lloyd.

    python benchmarks/kmeans.py --rows 1000000 --out benchmarks/results/kmeans-<hardware>-<date>.json

All from the same centroids, on the same float32 rows, in turns. Ratios are seconds of ours ÷ seconds of the peer.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from measure import in_turns, median, ratio, save
from sklearn.cluster import KMeans

from s2l.selection.grid import to_grid
from s2l.selection.kmeans import kmeans
from s2l.selection.seeding import seed_rows

CLUSTERS, ITERATIONS, CHECKPOINTS = 100, 20, 12
BLOCK = 2**17
PEERS = ("faiss", "scikit_learn", "ours_with_faiss_search")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    ids = np.array([b"%024x" % row for row in range(args.rows)], dtype="S24")
    losses_NT = decaying_losses(args.rows)
    rng = np.random.default_rng(0)
    start_KT = losses_NT[np.sort(rng.choice(args.rows, CLUSTERS, replace=False))]
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def ours(kernel: str) -> Callable[[], Any]:
        def job() -> None:
            clustering = kmeans(
                losses_NT,
                ids,
                CLUSTERS,
                0,
                initial_KD=start_KT.astype(np.float64),
                max_iterations=ITERATIONS + 1,
                tolerance=0.0,
                kernel=kernel,
            )
            name = "ours" if kernel == "own" else "ours_with_faiss_search"
            found[name] = clustering.centroids_KD, clustering.label_N

        return job

    def faiss_all_rows() -> None:
        fitted = faiss.Kmeans(CHECKPOINTS, CLUSTERS, niter=ITERATIONS, max_points_per_centroid=args.rows)
        fitted.train(losses_NT, init_centroids=start_KT)
        found["faiss"] = fitted.centroids, fitted.index.search(losses_NT, 1)[1][:, 0]

    def scikit_learn() -> None:
        fitted = KMeans(CLUSTERS, init=start_KT, n_init=1, max_iter=ITERATIONS, tol=0, algorithm="lloyd").fit(losses_NT)
        found["scikit_learn"] = fitted.cluster_centers_, fitted.labels_

    peers = {"faiss": faiss_all_rows, "scikit_learn": scikit_learn, "ours_with_faiss_search": ours("faiss")}
    jobs = {"ours": ours("own")} | {name: peers[name] for name in args.peers}
    extra = extra_memory(jobs["ours"])
    found.clear()
    with_seeding = extra_memory(lambda: kmeans(losses_NT, ids, CLUSTERS, 0, max_iterations=2))
    seconds = in_turns(jobs, args.repeats)
    save(
        args.out,
        {
            "rows": args.rows,
            "clusters": CLUSTERS,
            "iterations": ITERATIONS,
            **{f"ratio_to_{peer}": ratio(seconds["ours"], seconds[peer]) for peer in args.peers},
            "seconds": {name: median(taken) for name, taken in seconds.items()},
            "inertia": {name: inertia_of(losses_NT, *clusters) for name, clusters in found.items()},
            "data_bytes": losses_NT.nbytes,
            "extra_memory_bytes": extra,
            "extra_memory_of_data": round(extra / losses_NT.nbytes, 3),
            "extra_memory_with_seeding_of_data": round(with_seeding / losses_NT.nbytes, 3),
            "seeding_seconds": seeding_seconds(losses_NT, ids),
        },
    )


def decaying_losses(n_rows: int, seed: int = 0) -> np.ndarray:
    """Losses of four families of rows: learned, memorised late, never learned, and noisy; (N, 12), float32."""
    rng = np.random.default_rng(seed)
    time_T = np.arange(1, CHECKPOINTS + 1, dtype=np.float32) / CHECKPOINTS
    losses_NT = np.empty((n_rows, CHECKPOINTS), dtype=np.float32)
    for start in range(0, n_rows, BLOCK):
        part = losses_NT[start : start + BLOCK]
        shape = (len(part), 1)
        family = rng.integers(0, 4, shape)
        height, rate = (rng.gamma(4, 0.5, shape), rng.lognormal(0.5, 0.6, shape))
        floor = np.choose(family, [0.1, 0.3, 0.9, 0.5]) * height
        fall = np.where(family == 1, 1 / (1 + np.exp(8 * (time_T - 0.6))), np.exp(-rate * time_T))
        noise = rng.standard_normal(part.shape, dtype=np.float32) * np.where(family == 3, 0.15, 0.03)
        np.abs(floor + (height - floor) * fall + noise, out=part, casting="same_kind")
    return losses_NT


def inertia_of(losses_NT: np.ndarray, centroids_KT: np.ndarray, label_N: np.ndarray) -> float:
    """Sum of squared distances, in float64; what a peer itself tells may be a sum in float32."""
    total = 0.0
    for start in range(0, len(losses_NT), BLOCK):
        part = slice(start, start + BLOCK)
        total += float(np.square(losses_NT[part] - centroids_KT[label_N[part]].astype(np.float64)).sum())
    return round(total, 2)


def extra_memory(job: Callable[[], Any]) -> int:
    """Bytes by which the process grew at most while the job ran."""
    before = most = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    job()
    done.set()
    watcher.join()
    return most - before


def resident() -> int:
    """Bytes of the process that are in memory now (Linux)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def seeding_seconds(losses_NT: np.ndarray, ids: np.ndarray) -> float:
    """Of choosing the first centroids, which the peers are spared."""
    points = to_grid(losses_NT, ids)
    start = time.perf_counter()
    seed_rows(points, ids, CLUSTERS, 0)
    return round(time.perf_counter() - start, 2)


if __name__ == "__main__":
    main()
