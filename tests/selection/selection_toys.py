"""Small recorded pools for the tests of selection."""

from hashlib import blake2b

import numpy as np

from s2l.types import Recorded, Rows, Trajectories


def make_ids(n):
    return np.array(sorted(blake2b(b"%d" % i, digest_size=12).hexdigest() for i in range(n)), dtype="S24")


def decaying(n, checkpoints=6, seed=0, noise=0.02):
    """Losses that fall at differing rates from differing heights, as a proxy's do."""
    rng = np.random.default_rng(seed)
    t = np.linspace(1 / checkpoints, 1, checkpoints)
    start, kept, rate = rng.gamma(4, 0.4, (n, 1)), rng.beta(2, 3, (n, 1)), rng.lognormal(0, 0.7, (n, 1))
    return np.abs(start * (kept + (1 - kept) * np.exp(-3 * rate * t)) + rng.normal(0, noise, (n, checkpoints)))


def record(losses_NT, sources=("a", "b", "c")):
    n, checkpoints = losses_NT.shape
    tokens_N = np.full(n, 4)
    return Recorded(
        trajectories=Trajectories(
            ids=make_ids(n),
            steps=tuple(range(1, checkpoints + 1)),
            tokens_N=tokens_N,
            sums={"nll": (losses_NT * tokens_N[:, None]).astype(np.float32)},
        ),
        source_N=np.arange(n) ** 2 % len(sources),
        sources=tuple(sources),
        lengths_N=5 + np.arange(n) % 7,
    )


def rows_of(recorded, excluded=None, seed=None):
    """The pool behind the recorded rows, in id order, or shuffled; the excluded rows come last or anywhere."""
    excluded = excluded or {}
    ids = np.concatenate([recorded.trajectories.ids, np.array(list(excluded), dtype="S24")])
    source_N = np.concatenate([recorded.source_N, np.zeros(len(excluded), dtype=np.int64)])
    order = np.arange(len(ids)) if seed is None else np.random.default_rng(seed).permutation(len(ids))
    at = np.arange(len(ids))
    return Rows(
        ids=ids[order],
        occurrence_N=np.zeros(len(ids), dtype=np.int64),
        source_N=source_N[order],
        sources=recorded.sources,
        file_N=np.zeros(len(ids), dtype=np.int64),
        files=("pool.jsonl",),
        row_N=at,
        line_N=at + 1,
        excluded=excluded,
    )
