"""The held-out loss of each source under the primary comparison: where a method gains on random rows, and where not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any

from s2l.experiment.cells import ALL, Cell
from s2l.experiment.comparison import as_json
from s2l.experiment.recipe import FULL, RANDOM, ExperimentSettings
from s2l.experiment.statistics import estimate, paired

FEW = 30
"""Held-out rows below which a source's loss says more of these rows than of the source."""


@dataclass(frozen=True)
class SourceLosses:
    """Source → label → seed → loss per response token, of the method, of random and of full; source → held-out rows
    and tokens."""

    losses: dict[str, dict[str, dict[int, float]]]
    sizes: dict[str, dict[str, int]]
    method: str
    seeds: range

    def without_few(self) -> dict[str, Any] | None:
        """The mean over sources of FEW held-out rows or more, of the method less random; how many sources that are, of
        how many. None where no source is smaller, or all are."""
        large = [source for source, size in self.sizes.items() if size["rows"] >= FEW]
        if len(large) in {0, len(self.sizes)}:
            return None
        difference = paired(self._macro(large, self.method), self._macro(large, RANDOM), self.seeds)
        return {"rows": FEW, "sources": len(large), "of": len(self.sizes), "to_random": as_json(difference)}

    def _macro(self, sources: list[str], label: str) -> dict[int, float]:
        of = [self.losses[source][label] for source in sources]
        return {seed: fsum(one[seed] for one in of) / len(of) for seed in self.seeds if all(seed in one for one in of)}

    def entries(self) -> list[dict[str, Any]]:
        """One for each source, the largest gain on random first, JSON-able: its held-out rows and tokens, the loss of
        the method, of random and of full, and the method less random, paired by seed."""
        found = [
            {
                "source": source,
                **self.sizes[source],
                "values": {label: as_json(estimate(losses, self.seeds)) for label, losses in of.items()},
                "to_random": as_json(paired(of[self.method], of[RANDOM], self.seeds)),
            }
            for source, of in self.losses.items()
        ]
        return sorted(found, key=lambda entry: (_gain(entry), entry["source"]))


def source_losses(
    settings: ExperimentSettings, results: Mapping[Cell, Mapping[str, Any]], primary: Mapping[str, Any]
) -> SourceLosses:
    """Those of the primary method, of random and of full, at the primary budget and matching."""
    here = (primary["budget"], primary["matching"])
    labels = {primary["method"]: here, RANDOM: here, FULL: (ALL, "epochs")}
    found = SourceLosses({}, {}, primary["method"], range(settings.seeds))
    for label, (budget, matching) in labels.items():
        for seed in found.seeds:
            result = results.get(Cell(primary["target"], label, budget, matching, seed))
            heldout = (result["evaluation"].get("heldout") or {}) if result else {}
            for source, one in (heldout.get("by_source") or {}).items():
                found.losses.setdefault(source, {label: {} for label in labels})[label][seed] = one["loss"]
                found.sizes[source] = {"rows": one["rows"], "tokens": one["tokens"]}
    return found


def _gain(entry: Mapping[str, Any]) -> float:
    return entry["to_random"]["mean"] if entry["to_random"] else float("inf")
