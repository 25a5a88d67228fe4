"""Does the proxy carry signal? k-means clusters noise all the same, so every run looks at its trajectories first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from s2l.progress import SILENT, Progress
from s2l.selection import keyed
from s2l.selection.kmeans import Clustering, kmeans
from s2l.types import Trajectories

SAMPLE = 20_000
ITERATIONS = 30
ROWS_PER_CLUSTER = 20
"""With fewer, clusters explain whatever they are given."""
HALVES_CLUSTERS = 10
"""Few and coarse: borders between a hundred fine clusters move even where the signal is strong."""

LEAST_FALL = 0.02
MOST_UNEXPLAINED = 0.7
LEAST_AGREEMENT = 0.05


@dataclass(frozen=True)
class Signal:
    """What the trajectories say of the proxy; JSON-able.

    loss_first, loss_last: nats per response token at the first and the last checkpoint. loss_fall: relative.
    explained: share of the trajectories' variance between clusters. explained_shuffled: the same after the losses of
    each checkpoint were shuffled over the rows. agreement: adjusted Rand index of clusters made from the odd and from
    the even checkpoints (None: fewer than three). weak: reasons to distrust the trajectories, if any.
    """

    loss_first: float
    loss_last: float
    loss_fall: float
    explained: float
    explained_shuffled: float
    agreement: float | None
    weak: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The verdict for a person, one line."""
        if self.weak:
            return f"WEAK SIGNAL: {'; '.join(self.weak)}: the subset may be little better than a random one"
        found = [
            f"its loss fell by {self.loss_fall:.0%} ({self.loss_first:.2f} to {self.loss_last:.2f} nats per token)",
            f"clusters explain {self.explained:.0%} of the variance ({self.explained_shuffled:.0%} when shuffled)",
        ]
        if self.agreement is not None:
            found.append(f"two halves of the checkpoints agree to {self.agreement:.2f}")
        return f"the proxy carries signal: {', '.join(found)}"


def signal(trajectories: Trajectories, n_clusters: int, seed: int, progress: Progress = SILENT) -> Signal:
    """Fall of the loss over all rows; clusters of a keyed sample of at most 20,000 rows."""
    ends_N2 = trajectories.sums["nll"][:, [0, -1]]
    loss_first, loss_last = ends_N2.sum(axis=0, dtype=np.float64) / max(1, trajectories.tokens_N.sum())
    keys_N = keyed.keys(seed, "signal", trajectories.ids)
    sample = np.sort(np.argsort(keys_N)[:SAMPLE])
    ids, keys_N, losses_NT = trajectories.ids[sample], keys_N[sample], trajectories.mean("nll", sample)
    n_clusters = max(2, min(n_clusters, len(sample) // ROWS_PER_CLUSTER))
    checkpoints = losses_NT.shape[1]
    with progress.stage("signal", None, "rounds"):
        explained = _explained(losses_NT, ids, n_clusters, seed)
        shuffled = _explained(_shuffled(losses_NT, keys_N), ids, n_clusters, seed)
        agreement = _agreement(losses_NT, ids, seed) if checkpoints > 2 else None
    loss_fall = float(1 - loss_last / loss_first) if loss_first > 0 else 0.0
    weak = _weak(checkpoints, loss_fall, explained, shuffled, agreement)
    return Signal(float(loss_first), float(loss_last), loss_fall, explained, shuffled, agreement, weak)


def adjusted_rand(label_N: Int[np.ndarray, " N"], other_N: Int[np.ndarray, " N"]) -> float:
    """Agreement of two clusterings: 1 the same, 0 as by chance (Hubert & Arabie 1985)."""
    table = np.zeros((label_N.max() + 1, other_N.max() + 1))
    np.add.at(table, (label_N, other_N), 1)
    together, of_label, of_other, of_all = (
        float((counts * (counts - 1)).sum() / 2)
        for counts in (table, table.sum(axis=1), table.sum(axis=0), table.sum())
    )
    by_chance = of_label * of_other / max(1, of_all)
    best = (of_label + of_other) / 2
    return 1.0 if best == by_chance else (together - by_chance) / (best - by_chance)


def _weak(checkpoints: int, fall: float, explained: float, shuffled: float, agreement: float | None) -> tuple[str, ...]:
    if checkpoints == 1:
        return ("one checkpoint alone cannot tell signal from noise",)
    reasons = []
    if fall < -LEAST_FALL:
        reasons.append(f"the proxy's loss rose by {-fall:.1%}, its training diverged")
    elif fall < LEAST_FALL:
        reasons.append(f"the proxy's loss hardly moved, it fell by {fall:.1%}")
    if 1 - explained > MOST_UNEXPLAINED * (1 - shuffled):
        reasons.append(f"clusters explain {explained:.0%} of the variance, {shuffled:.0%} even when shuffled")
    if agreement is not None and agreement < LEAST_AGREEMENT:
        reasons.append(f"two halves of the checkpoints agree to {agreement:.2f} only (1: fully, 0: by chance)")
    return tuple(reasons)


def _explained(losses_NT: Float[np.ndarray, "N T"], ids: Shaped[np.ndarray, " N"], n_clusters: int, seed: int) -> float:
    """1 - inertia over total; 0 where the trajectories are all alike."""
    total = _clusters(losses_NT, ids, 1, seed).inertia
    return 1 - _clusters(losses_NT, ids, n_clusters, seed).inertia / total if total > 0 else 0.0


def _shuffled(losses_NT: Float[np.ndarray, "N T"], keys_N: Shaped[np.ndarray, " N"]) -> Float[np.ndarray, "N T"]:
    columns = [losses_NT[np.argsort(keyed.rounds(keys_N, t)), t] for t in range(losses_NT.shape[1])]
    return np.stack(columns, axis=1)


def _agreement(losses_NT: Float[np.ndarray, "N T"], ids: Shaped[np.ndarray, " N"], seed: int) -> float:
    odd, even = (_clusters(losses_NT[:, start::2], ids, HALVES_CLUSTERS, seed).label_N for start in (0, 1))
    return adjusted_rand(odd, even)


def _clusters(
    features_ND: Float[np.ndarray, "N D"], ids: Shaped[np.ndarray, " N"], n_clusters: int, seed: int
) -> Clustering:
    return kmeans(features_ND, ids, n_clusters, seed, at_most=True, max_iterations=ITERATIONS)
