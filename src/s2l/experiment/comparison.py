"""Results of the cells → every group's means, and its differences to random, full and the primary method by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import fsum
from typing import Any

from s2l.experiment.cells import ALL, Cell, groups_of
from s2l.experiment.outcomes import outcomes_of
from s2l.experiment.recipe import FULL, RANDOM, ExperimentSettings, Matching
from s2l.experiment.statistics import Estimate, estimate, paired

Group = tuple[str, str, str, Matching]
Values = dict[str, dict[Group, dict[int, float]]]
"""Outcome → group → seed → value."""
OF_TRAINING = ("rows", "steps", "epochs", "tokens_seen", "seconds", "flops")


def values_of(results: Mapping[Cell, Mapping[str, Any]]) -> Values:
    """All that was measured, by outcome."""
    values: Values = {}
    for cell, result in results.items():
        for name, value in outcomes_of(result["evaluation"]).items():
            values.setdefault(name, {}).setdefault(cell.group, {})[cell.seed] = value
    return values


def compared(settings: ExperimentSettings, results: Mapping[Cell, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each target × matching × budget × method, JSON-able; what is missing is said, never filled in."""
    values, seeds = values_of(results), range(settings.seeds)
    entries = []
    for group in groups_of(settings):
        target, label, budget, matching = group
        done = [result for cell, result in results.items() if cell.group == group]
        entries.append(
            {
                "target": target,
                "method": label,
                "budget": budget,
                "matching": matching,
                "seeds": sorted(cell.seed for cell in results if cell.group == group),
                "missing": [seed for seed in seeds if Cell(*group, seed) not in results],
                "training": {name: _mean([result["training"].get(name) for result in done]) for name in OF_TRAINING},
                "selection": _selection([result["selection"] for result in done]),
                "outcomes": {
                    name: {
                        "value": as_json(estimate(by_group.get(group, {}), seeds)),
                        "to_random": as_json(difference(by_group, group, RANDOM, seeds)),
                        "to_full": as_json(difference(by_group, group, FULL, seeds)),
                        "to_primary": as_json(difference(by_group, group, settings.primary.method, seeds)),
                    }
                    for name, by_group in values.items()
                    if group in by_group
                },
            }
        )
    return entries


def difference(
    by_group: Mapping[Group, Mapping[int, float]], group: Group, other: str, seeds: range
) -> Estimate | None:
    """A group less its counterpart: `other` of the same budget and matching, or full of the same target."""
    target, label, budget, matching = group
    theirs: Group = (target, FULL, ALL, "epochs") if other == FULL else (target, other, budget, matching)
    if label in {other, FULL}:
        return None
    return paired(by_group.get(group, {}), by_group.get(theirs, {}), seeds)


def estimate_from(told: Mapping[str, Any] | None) -> Estimate | None:
    """The inverse of what `compared` writes of an estimate."""
    return (
        None if told is None else Estimate(**{**told, "seeds": tuple(told["seeds"]), "missing": tuple(told["missing"])})
    )


def as_json(of: Estimate | None) -> dict[str, Any] | None:
    """An estimate as `estimate_from` reads it."""
    return None if of is None else asdict(of) | {"seeds": list(of.seeds), "missing": list(of.missing)}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known else None


def _selection(costs: list[dict[str, float] | None]) -> dict[str, float | None] | None:
    """The mean cost of choosing; None where nothing is chosen."""
    known = [cost for cost in costs if cost is not None]
    return {name: _mean([cost[name] for cost in known]) for name in known[0]} if known else None
