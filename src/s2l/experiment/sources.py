"""The held-out loss of each source under the primary comparison: where a method gains on random rows, and where not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s2l.experiment.cells import ALL, Cell
from s2l.experiment.comparison import as_json
from s2l.experiment.recipe import FULL, RANDOM, ExperimentSettings
from s2l.experiment.statistics import estimate, paired


def by_source(
    settings: ExperimentSettings, results: Mapping[Cell, Mapping[str, Any]], primary: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One entry for each source, the largest gain on random first, JSON-able: held-out rows and tokens, and for the
    primary method, random and full the loss per response token; to_random: the primary method less random, paired by
    seed."""
    labels = {
        primary["method"]: (primary["budget"], primary["matching"]),
        RANDOM: (primary["budget"], primary["matching"]),
        FULL: (ALL, "epochs"),
    }
    seeds = range(settings.seeds)
    losses: dict[str, dict[str, dict[int, float]]] = {}
    sizes: dict[str, dict[str, int]] = {}
    for label, (budget, matching) in labels.items():
        for seed in seeds:
            result = results.get(Cell(primary["target"], label, budget, matching, seed))
            heldout = (result["evaluation"].get("heldout") or {}) if result else {}
            for source, one in (heldout.get("by_source") or {}).items():
                losses.setdefault(source, {}).setdefault(label, {})[seed] = one["loss"]
                sizes[source] = {"rows": one["rows"], "tokens": one["tokens"]}
    entries = [
        {
            "source": source,
            **sizes[source],
            "values": {label: as_json(estimate(of.get(label, {}), seeds)) for label in labels},
            "to_random": as_json(paired(of.get(primary["method"], {}), of.get(RANDOM, {}), seeds)),
        }
        for source, of in losses.items()
    ]
    return sorted(entries, key=lambda entry: (_gain(entry), entry["source"]))


def _gain(entry: Mapping[str, Any]) -> float:
    return entry["to_random"]["mean"] if entry["to_random"] else float("inf")
