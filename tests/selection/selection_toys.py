"""Small recorded pools for the tests of selection."""

import numpy as np

from s2l.types import Recorded, Rows, Trajectories
from toy_losses import make_ids


def statistics(losses_NT):
    """Means of the seven that could go with such losses; equal losses give equal statistics."""
    probability_NT = np.exp(-losses_NT)
    return {
        "nll": losses_NT,
        "hits": np.rint(4 * probability_NT) / 4,
        "p_target": probability_NT,
        "p_max": (1 + probability_NT) / 2,
        "entropy": losses_NT / 2,
        "el2n": np.sqrt(2) * (1 - probability_NT),
        "margin": 1 - losses_NT,
    }


class ToyRepresentations:
    """Embeddings that hang on the loss, so that equal rows have equal ones.

    asked: the rows that the proxy was to be trained on, each time.
    """

    def __init__(self, losses_NT):
        self.losses_NT = losses_NT
        self.asked = []

    def embeddings(self, pooling, column):
        angle_N = self.losses_NT[:, column] * (1 if pooling == "response" else 2)
        return np.stack([np.cos(angle_N), np.sin(angle_N), np.cos(3 * angle_N)], axis=1).astype(np.float32)

    def gradient_norms(self, scope, column):
        return self.losses_NT[:, column] * (1 if scope == "head" else 2)

    def losses_alone(self, column):
        return self.losses_NT[:, column] * 1.2 - 0.1

    def example_embeddings(self, path, pooling, column):
        return self.embeddings(pooling, column)[::50]

    def embeddings_after(self, rows):
        return self.embeddings("response", self._after(rows))

    def means_after(self, statistic, rows):
        return statistics(self.losses_NT)[statistic][:, self._after(rows)]

    def _after(self, rows):
        """A column that hangs on which rows they are, in whatever order."""
        self.asked.append(sorted(rows.tolist()))
        return sum(self.asked[-1]) % self.losses_NT.shape[1]


def record(losses_NT, sources=("a", "b", "c"), most=None):
    n, checkpoints = losses_NT.shape
    tokens_N = np.full(n, 4)
    return Recorded(
        trajectories=Trajectories(
            ids=make_ids(n),
            steps=tuple(range(1, checkpoints + 1)),
            tokens_N=tokens_N,
            sums={
                name: (mean_NT * tokens_N[:, None]).astype(np.float32)
                for name, mean_NT in statistics(losses_NT).items()
            },
        ),
        source_N=np.arange(n) ** 2 % len(sources),
        sources=tuple(sources),
        lengths_N=5 + np.arange(n) % 7,
        most=most,
        more=ToyRepresentations(losses_NT),
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
