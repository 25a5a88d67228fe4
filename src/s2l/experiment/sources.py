"""The held-out loss of each source under the primary comparison: where a method gains on random rows, and where not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from statistics import StatisticsError, correlation
from typing import Any

from s2l.experiment.cells import ALL, Cell
from s2l.experiment.comparison import as_json
from s2l.experiment.outcomes import FEW
from s2l.experiment.recipe import FULL, RANDOM, ExperimentSettings
from s2l.experiment.statistics import estimate, paired

LEAST = 4
"""Sources below which a correlation over them says nothing."""


def source_losses(
    settings: ExperimentSettings, results: Mapping[Cell, Mapping[str, Any]], primary: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One entry for each source, the largest gain on random first, JSON-able: its held-out rows and tokens; the loss of
    the primary method, of random and of full; the method less random, paired by seed; the mean rows that either
    chose of it."""
    method, seeds = primary["method"], range(settings.seeds)
    here = (primary["budget"], primary["matching"])
    losses: dict[str, dict[str, dict[int, float]]] = {}
    sizes: dict[str, dict[str, int]] = {}
    chosen: dict[str, list[Mapping[str, int]]] = {method: [], RANDOM: []}
    labels = {method: here, RANDOM: here, FULL: (ALL, "epochs")}
    for label, (budget, matching) in labels.items():
        for seed in seeds:
            result = results.get(Cell(primary["target"], label, budget, matching, seed))
            heldout = (result["evaluation"].get("heldout") or {}) if result else {}
            for source, one in (heldout.get("by_source") or {}).items():
                losses.setdefault(source, {label: {} for label in labels})[label][seed] = one["loss"]
                sizes[source] = {"rows": one["rows"], "tokens": one["tokens"]}
            counts = ((result or {}).get("subset") or {}).get("rows_by_source")
            if counts is not None and label in chosen:
                chosen[label].append(counts)
    entries = [
        {
            "source": source,
            **sizes[source],
            "chosen": {label: _mean_rows(counts, source) for label, counts in chosen.items()},
            "values": {label: as_json(estimate(by_seed, seeds)) for label, by_seed in of.items()},
            "to_random": as_json(paired(of[method], of[RANDOM], seeds)),
        }
        for source, of in losses.items()
    ]
    return sorted(entries, key=lambda entry: (_gain(entry), entry["source"]))


def large_sources(entries: Sequence[Mapping[str, Any]]) -> dict[str, int] | None:
    """How many sources have FEW held-out rows or more, of how many; None where all have, or none."""
    large = sum(entry["rows"] >= FEW for entry in entries)
    return {"rows": FEW, "sources": large, "of": len(entries)} if 0 < large < len(entries) else None


def mixture(entries: Sequence[Mapping[str, Any]], method: str) -> dict[str, float] | None:
    """Pearson's correlation, over sources of which both choose rows, of log(the method's rows / random rows) with the
    method's loss less that of random; None where it says nothing."""
    pairs = []
    for entry in entries:
        ours, theirs = entry["chosen"][method], entry["chosen"][RANDOM]
        if ours and theirs and entry["to_random"]:
            pairs.append((log(ours / theirs), entry["to_random"]["mean"]))
    if len(pairs) < LEAST:
        return None
    try:
        return {"sources": len(pairs), "correlation": correlation(*zip(*pairs, strict=True))}
    except StatisticsError:  # no difference anywhere
        return None


def _mean_rows(counts: Sequence[Mapping[str, int]], source: str) -> float | None:
    return sum(one.get(source, 0) for one in counts) / len(counts) if counts else None


def _gain(entry: Mapping[str, Any]) -> float:
    return entry["to_random"]["mean"] if entry["to_random"] else float("inf")
