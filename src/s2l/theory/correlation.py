"""Do the losses of a small model move as those of a large one? Rank correlations of trajectories, proxy and target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from s2l.selection import keyed
from s2l.theory.intervals import Interval, of_mean, of_rank_correlation, told

LEAST_CHECKPOINTS = 3


@dataclass(frozen=True)
class AtCheckpoint:
    """Spearman's correlation over rows of the losses at one step of the proxy and one of the target.

    proxy_at, target_at: shares of the training.
    """

    proxy_step: int
    proxy_at: float
    target_step: int
    target_at: float
    correlation: float
    interval: Interval

    @property
    def sentence(self) -> str:
        """What it means, for a person."""
        low, high = self.interval
        verdict = told(
            self.interval,
            0,
            above="rows that are harder for the proxy tend to be harder for the target",
            below="rows that are harder for the proxy tend to be easier for the target",
            neither="what is hard for the proxy does not tell what is hard for the target",
        )
        return (
            f"At {self.target_at:.0%} of training {verdict}: rank correlation of the losses {self.correlation:z.2f} "
            f"(95 % interval {low:z.2f} to {high:z.2f})."
        )


@dataclass(frozen=True)
class OverTime:
    """Spearman's correlation over checkpoints, of each row's trajectory by the proxy with its own by the target.

    rows: with a loss that moves in both. quantiles: 5, 25, 50, 75 and 95 % of the rows. others: the same mean, each
    row's trajectory with the target's of another row: all losses fall, so that is not 0. interval: of mean − others.
    """

    rows: int
    flat: int
    checkpoints: int
    mean: float
    quantiles: tuple[float, ...]
    others: float
    interval: Interval

    @property
    def sentence(self) -> str:
        """What it means, for a person."""
        low, high = self.interval
        verdict = told(self.interval, 0, above="better than", below="worse than", neither="no better than")
        return (
            f"A row's loss trajectory in the proxy is matched by its own in the target {verdict} by another row's: "
            f"mean rank correlation over time {self.mean:z.2f} against {self.others:z.2f} (difference "
            f"{self.mean - self.others:z.2f}, 95 % interval {low:z.2f} to {high:z.2f}); the middle row has "
            f"{self.quantiles[2]:z.2f}."
        )


@dataclass(frozen=True)
class Correlation:
    """Of the trajectories of a sample of rows; over_time is None with fewer than three checkpoints."""

    rows: int
    checkpoints: tuple[AtCheckpoint, ...]
    over_time: OverTime | None


def correlation(
    proxy_NT: Float[np.ndarray, "N T"],
    proxy_steps: Sequence[int],
    target_NS: Float[np.ndarray, "N S"],
    target_steps: Sequence[int],
    ids: Shaped[np.ndarray, " N"],
    seed: int,
) -> Correlation:
    """Losses of the same rows, nats per response token; checkpoints matched by their share of the training."""
    pairs = matched(proxy_steps, target_steps)
    proxy_NM, target_NM = proxy_NT[:, [t for t, _ in pairs]], target_NS[:, [s for _, s in pairs]]
    found = []
    for m, (t, s) in enumerate(pairs):
        value = spearman(proxy_NM[:, m], target_NM[:, m])
        found.append(
            AtCheckpoint(
                proxy_step=proxy_steps[t],
                proxy_at=proxy_steps[t] / proxy_steps[-1],
                target_step=target_steps[s],
                target_at=target_steps[s] / target_steps[-1],
                correlation=value,
                interval=of_rank_correlation(value, len(ids)),
            )
        )
    over_time = _over_time(proxy_NM, target_NM, ids, seed) if len(pairs) >= LEAST_CHECKPOINTS else None
    return Correlation(len(ids), tuple(found), over_time)


def matched(proxy_steps: Sequence[int], target_steps: Sequence[int]) -> list[tuple[int, int]]:
    """Columns (proxy, target) that are nearest by share of training: one pair for each checkpoint of the fewer."""
    if len(proxy_steps) < len(target_steps):
        return [(t, s) for s, t in matched(target_steps, proxy_steps)]
    apart_ST = np.abs(
        np.subtract.outer(np.array(target_steps) / target_steps[-1], np.array(proxy_steps) / proxy_steps[-1])
    )
    nearest: dict[int, int] = {}
    for s in np.argsort(-apart_ST.min(axis=1), kind="stable").tolist():
        nearest[int(apart_ST[s].argmin())] = s  # the nearest of several comes last
    return sorted(nearest.items())


def spearman(a_n: Float[np.ndarray, " n"], b_n: Float[np.ndarray, " n"]) -> float:
    """Pearson's correlation of the ranks, ties sharing their mean rank; nan where either is all alike."""
    x_n, y_n = (ranks_n - ranks_n.mean() for ranks_n in (ranks(a_n), ranks(b_n)))
    scale = float((x_n @ x_n) * (y_n @ y_n)) ** 0.5
    return float(x_n @ y_n) / scale if scale > 0 else float("nan")


def ranks(values_n: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, at_n, counts_U = np.unique(values_n, return_inverse=True, return_counts=True)
    ranks_n: Float[np.ndarray, " n"] = (np.cumsum(counts_U) - (counts_U - 1) / 2)[at_n]
    return ranks_n


def _over_time(
    proxy_NM: Float[np.ndarray, "N M"], target_NM: Float[np.ndarray, "N M"], ids: Shaped[np.ndarray, " N"], seed: int
) -> OverTime | None:
    in_ring = np.argsort(keyed.keys(seed, "verify/others", ids))
    other_N = np.empty(len(ids), dtype=np.int64)
    other_N[in_ring] = np.roll(in_ring, 1)
    own_N, others_N = (
        np.array([spearman(a, b) for a, b in zip(proxy_NM, them_NM, strict=True)])
        for them_NM in (target_NM, target_NM[other_N])
    )
    moves_N = np.isfinite(own_N) & np.isfinite(others_N)
    if moves_N.sum() < 2:
        return None
    return OverTime(
        rows=int(moves_N.sum()),
        flat=int((~moves_N).sum()),
        checkpoints=proxy_NM.shape[1],
        mean=float(own_N[moves_N].mean()),
        quantiles=tuple(np.quantile(own_N[moves_N], [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()),
        others=float(others_N[moves_N].mean()),
        interval=of_mean(own_N[moves_N] - others_N[moves_N]),
    )
