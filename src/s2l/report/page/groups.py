"""Groups of rows as the page shows them: the method's clusters, else the sources, and how the loss of each moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from s2l.report.page.seen import Seen
from s2l.report.page.words import name_of, short
from s2l.theory.sample import evenly

MOST_GROUPS, MOST_POINTS = 1_000, 50
BAND = (0.1, 0.9)


@dataclass(frozen=True)
class Groups:
    """Which group each row is in, rows in id order. word: what a group is called. number_G: of the groups shown.

    distance_N: to the centre of the row's group, in nats.
    """

    word: str
    group_N: Int[np.ndarray, " N"]
    names: Sequence[str]
    distance_N: Float[np.ndarray, " N"]

    @property
    def sizes(self) -> Int[np.ndarray, " K"]:
        """Rows of each."""
        return np.bincount(self.group_N, minlength=len(self.names))

    @property
    def shown(self) -> list[int]:
        """Groups with rows, the 1,000 largest of them at most, by number."""
        sizes_K = self.sizes
        largest = np.argsort(-sizes_K, kind="stable")[:MOST_GROUPS]
        return sorted(largest[sizes_K[largest] > 0].tolist())


def groups_of(seen: Seen) -> Groups:
    """The clusters of the page's subset; the sources where its method has no clusters; all rows where there is one."""
    verdict = seen.verdict
    if verdict is not None and (verdict.group_N >= 0).all():
        names = [str(group) for group in range(int(verdict.group_N.max()) + 1)]
        word = "cluster" if verdict.manifest["facts"].get("clusters") else "group"
        known_N = np.isfinite(verdict.distance_N)
        own_N = verdict.distance_N if known_N.all() else distances(seen, verdict.group_N)
        return Groups(word, verdict.group_N, names, own_N)
    several = len(np.unique(seen.source_N)) > 1
    group_N = seen.source_N if several else np.zeros(len(seen), dtype=np.int64)
    names = [name_of(source) for source in seen.rows.sources] if several else ["all rows"]
    return Groups("source" if several else "group", group_N, names, distances(seen, group_N))


def distances(seen: Seen, group_N: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Euclidean distance of each row's losses to its group's mean, in nats."""
    squared_N = np.zeros(len(seen))
    sizes_K = np.maximum(np.bincount(group_N), 1)
    for column in range(len(seen.trajectories.steps)):
        losses_N = seen.losses(column)
        squared_N += np.square(losses_N - (np.bincount(group_N, losses_N) / sizes_K)[group_N])
    return np.sqrt(squared_N)


def curves(seen: Seen, groups: Groups) -> dict[str, Any]:
    """Mean loss and 10 % to 90 % band over the checkpoints: of every group shown, all rows, and those chosen."""
    steps = seen.trajectories.steps
    columns = evenly(range(len(steps)), MOST_POINTS)
    order = np.argsort(groups.group_N, kind="stable")
    stops = np.cumsum(groups.sizes)
    return {
        "word": groups.word,
        "steps": [steps[column] for column in columns],
        "recorded": len(steps),
        "band": list(BAND),
        "total": int((groups.sizes > 0).sum()),
        "all": _curve(seen, np.arange(len(seen)), columns),
        "chosen": _curve(seen, np.flatnonzero(seen.kept_N), columns) if seen.kept_N.any() else None,
        "groups": [
            _described(seen, groups, group, order[stops[group] - groups.sizes[group] : stops[group]], columns)
            for group in groups.shown
        ],
    }


def _described(
    seen: Seen, groups: Groups, group: int, rows: Int[np.ndarray, " n"], columns: Sequence[int]
) -> dict[str, Any]:
    by_source = np.bincount(seen.source_N[rows], minlength=len(seen.rows.sources))
    largest = int(by_source.argmax())
    return {
        "number": group,
        "name": groups.names[group],
        "rows": len(rows),
        "chosen": int(seen.kept_N[rows].sum()),
        "source": name_of(seen.rows.sources[largest]),
        "source_share": round(int(by_source[largest]) / len(rows), 3),
        **_curve(seen, rows, columns),
    }


def _curve(seen: Seen, rows: Int[np.ndarray, " n"], columns: Sequence[int]) -> dict[str, list[float]]:
    """Of these rows; one checkpoint at a time, so that a large pool is never held as losses."""
    sums_NT, tokens_n = seen.trajectories.sums["nll"], seen.trajectories.tokens_N[rows]
    mean: list[float] = []
    low: list[float] = []
    high: list[float] = []
    for column in columns:
        losses_n = sums_NT[rows, column].astype(np.float64) / tokens_n
        mean.append(losses_n.mean())
        for side, value in zip((low, high), np.quantile(losses_n, BAND), strict=True):
            side.append(value)
    return {"mean": short(mean), "low": short(low), "high": short(high)}
