"""What choosing changed: shares of sources and clusters, lengths and losses, the pool against the subset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from s2l.report.page.groups import Groups
from s2l.report.page.seen import Seen
from s2l.report.page.words import name_of, short

MOST_SOURCES, MOST_RANKED, BINS = 40, 5, 30
TAIL = 0.995


def changes(seen: Seen, groups: Groups) -> dict[str, Any]:
    """The subset beside the pool; rows that can be chosen are the pool here."""
    sources = shares(seen.source_N, seen.kept_N, [name_of(source) for source in seen.rows.sources])
    by_group = shares(groups.group_N, seen.kept_N, groups.names) if groups.word != "source" else []
    first, last = (seen.losses(column) for column in (0, -1))
    columns = [
        ("tokens", "proxy tokens of a row", seen.lengths_N),
        ("response tokens", "proxy tokens of a response", seen.trajectories.tokens_N),
        ("loss at the first checkpoint", "nats per response token", first),
        ("loss at the last checkpoint", "nats per response token", last),
    ]
    return {
        "sources": sources[:MOST_SOURCES],
        "more_sources": max(0, len(sources) - MOST_SOURCES),
        "source_extremes": extremes(sources),
        "group_extremes": extremes(by_group),
        "distributions": [
            {"name": name, "unit": unit, **distribution(values_N, seen.kept_N)} for name, unit, values_N in columns
        ],
        "overlaps": overlaps(seen),
    }


def shares(
    group_N: Int[np.ndarray, " N"], kept_N: Bool[np.ndarray, " N"], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of each group that has some, chosen ones, and by what its share grew in the subset; the largest first."""
    rows_K = np.bincount(group_N, minlength=len(names))
    chosen_K = np.bincount(group_N[kept_N], minlength=len(names))
    total, budget = len(group_N), int(kept_N.sum())
    return [
        {
            "name": names[k],
            "rows": int(rows_K[k]),
            "share": round(float(rows_K[k] / total), 5),
            "chosen": int(chosen_K[k]),
            "chosen_share": round(float(chosen_K[k] / budget), 5) if budget else 0.0,
            "ratio": round(float(chosen_K[k] / budget / (rows_K[k] / total)), 3) if budget else None,
        }
        for k in np.argsort(-rows_K, kind="stable")
        if rows_K[k]
    ]


def extremes(shared: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The most over- and under-represented, of groups of which an even draw would take one row at least."""
    budget, total = sum(group["chosen"] for group in shared), sum(group["rows"] for group in shared)
    fair = [group for group in shared if budget * group["rows"] >= total and group["ratio"] is not None]
    by_ratio = sorted(fair, key=lambda group: group["ratio"])
    return {
        "over": [group for group in reversed(by_ratio) if group["ratio"] > 1][:MOST_RANKED],
        "under": [group for group in by_ratio if group["ratio"] < 1][:MOST_RANKED],
    }


def distribution(
    values_N: Int[np.ndarray, " N"] | Float[np.ndarray, " N"], kept_N: Bool[np.ndarray, " N"]
) -> dict[str, Any]:
    """Shares of rows in at most 30 equal bins, of all rows and of those chosen, and the medians of both.

    The last bin ends at the 99.5 % quantile of all rows and holds what is above it too.
    """
    low, high = float(values_N.min()), float(np.quantile(values_N, TAIL))
    if np.issubdtype(values_N.dtype, np.integer):
        width = max(1, int(np.ceil((high + 1 - low) / BINS)))
        edges = low + width * np.arange(int(np.ceil((high + 1 - low) / width)) + 1)
    else:
        edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low, low + 1])

    def of(values: np.ndarray) -> list[float]:
        counts, _ = np.histogram(np.minimum(values, np.nextafter(edges[-1], -np.inf)), edges)
        return short(counts / max(1, len(values)), 5)

    kept = values_N[kept_N]
    return {
        "edges": short(edges),
        "all": of(values_N),
        "chosen": of(kept) if len(kept) else None,
        "median": round(float(np.median(values_N)), 3),
        "chosen_median": round(float(np.median(kept)), 3) if len(kept) else None,
    }


def overlaps(seen: Seen) -> list[dict[str, Any]]:
    """The run's other subsets: how many of the page's rows each holds too, and how many chance would give."""
    return [
        {
            "name": name_of(other.name),
            "rows": int(other.kept_N.sum()),
            "shared": int((other.kept_N & seen.kept_N).sum()),
            "by_chance": round(float(other.kept_N.sum() * seen.kept_N.sum() / len(seen)), 1),
        }
        for other in seen.verdicts[1:]
    ]
