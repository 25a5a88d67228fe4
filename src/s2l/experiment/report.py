"""The report of an experiment: experiment.json, experiment.md and plots, from the cells that are done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2l import __version__
from s2l.experiment.cells import Cell
from s2l.experiment.comparison import compared, estimate_from
from s2l.experiment.costs import pays_from
from s2l.experiment.outcomes import outcome, outcomes_of
from s2l.experiment.places import RESULT
from s2l.experiment.plots import plots
from s2l.experiment.recipe import FULL, MACRO, RANDOM, ExperimentSettings
from s2l.experiment.sources import large_sources, mixture, source_losses
from s2l.experiment.tables import markdown
from s2l.experiment.verdict import against, few_rows, other_sources, other_tokens, payoff, shared_proxies
from s2l.files import write_json, written_whole

MARKDOWN, PLOTS = "experiment.md", "plots"


def write_report(
    settings: ExperimentSettings,
    out: Path,
    results: Mapping[Cell, Mapping[str, Any]],
    starts: Mapping[str, Mapping[str, Any]],
    split: Mapping[str, Any] | None,
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """Write the three, whole; returns what is in experiment.json.

    starts: evaluations of targets not yet fine-tuned. failed: why cells that were tried have no result.
    """
    found = summarised(settings, results, starts, split, failed)
    drawn = plots(found)
    write_json(out / RESULT, found)
    with written_whole(out / PLOTS) as part:
        part.mkdir()
        for name, svg in drawn.items():
            (part / name).write_text(svg, encoding="utf-8")
    with written_whole(out / MARKDOWN) as part:
        part.write_bytes(markdown(found, [f"{PLOTS}/{name}" for name in drawn]).encode("utf-8", "backslashreplace"))
    return found


def summarised(
    settings: ExperimentSettings,
    results: Mapping[Cell, Mapping[str, Any]],
    starts: Mapping[str, Mapping[str, Any]],
    split: Mapping[str, Any] | None,
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """All figures, and the verdict, JSON-able. `settings` makes it a recipe."""
    groups = compared(settings, results)
    primary = settings.primary.model_dump(mode="json") | {"target": settings.primary.target or settings.first_target}
    sources = source_losses(settings, results, primary)
    large, mixed = large_sources(sources), mixture(sources, primary["method"])
    return {
        "s2l": __version__,
        "settings": settings.model_dump(mode="json"),
        "split": None if split is None else dict(split),
        "cells": {"done": len(results), "all": len(groups) * settings.seeds},
        "failed": dict(failed),
        "primary": primary,
        "verdict": verdict(groups, primary, settings, large, mixed, failed),
        "starts": {target: outcomes_of(evaluation) for target, evaluation in starts.items()},
        "groups": groups,
        "sources": sources,
        "large_sources": large,
        "mixture": mixed,
    }


def verdict(
    groups: list[dict[str, Any]],
    primary: Mapping[str, Any],
    settings: ExperimentSettings,
    large: Mapping[str, int] | None,
    mixed: Mapping[str, float] | None,
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """The primary comparison in words, what it costs, and what a reader must not overlook."""
    entry = next((one for one in groups if _is_primary(one, primary)), None)
    full = next((one for one in groups if one["method"] == FULL and one["target"] == primary["target"]), None)
    of = outcome(primary["outcome"])
    measured = (entry["outcomes"].get(primary["outcome"]) if entry else None) or {}
    to_random, to_full = (estimate_from(measured.get(f"to_{other}")) for other in (RANDOM, FULL))
    lines = [against(RANDOM, to_random, of, undecided="no better than random")]
    if full is not None:
        all_rows = "training on all rows"
        lines.append(against(all_rows, to_full, of, undecided=f"not told apart from {all_rows}"))
        lines += _payoffs(entry, full)
    name = f"{primary['method']} at {primary['budget']}"
    notes = [shared_proxies(settings.seeds, settings.proxy_seeds), _tokens(name, entry, groups, primary)]
    if entry is not None and primary["outcome"] == MACRO:
        if large is not None:
            told = entry["outcomes"].get("heldout.macro_large") or {}
            notes.append(few_rows(name, large, estimate_from(told.get("to_random")), of))
        notes.append(None if mixed is None else other_sources(name, mixed))
    if failed:
        first, why = next(iter(failed.items()))
        notes.append(f"failed and left out: {len(failed)} of the cells; {first}: {why}")
    absent = sum(len(one["missing"]) for one in groups) - len(failed)
    notes.append(f"not done yet: {absent} of the cells; what is told rests on those that are" if absent else None)
    return {"lines": [f"{name}: {line}" for line in lines], "notes": [note for note in notes if note]}


def _is_primary(entry: Mapping[str, Any], primary: Mapping[str, Any]) -> bool:
    return all(entry[key] == primary[key] for key in ("target", "method", "budget", "matching"))


def _tokens(
    name: str, entry: Mapping[str, Any] | None, groups: list[dict[str, Any]], primary: Mapping[str, Any]
) -> str | None:
    """What is to be said of the tokens that the method's rows have, beside as many random ones."""
    random = next((one for one in groups if _is_primary(one, {**primary, "method": RANDOM})), None)
    if entry is None or random is None or not (entry["seeds"] and random["seeds"]):
        return None
    return other_tokens(name, entry["training"]["tokens_seen"], random["training"]["tokens_seen"])


def _payoffs(entry: Mapping[str, Any] | None, full: Mapping[str, Any]) -> list[str]:
    """Where selecting and training is cheaper than training on all rows, in FLOPs and in seconds."""
    if entry is None or not (entry["seeds"] and full["seeds"]):
        return []
    ours, theirs = entry["training"], full["training"]
    if entry["matching"] == "steps":
        return ["never cheaper than full training of this target: equal steps take as long, and selecting comes on top"]
    return [
        payoff(
            pays_from(entry["selection"][unit], ours[unit], theirs[unit], theirs["rows"]),
            round(ours["rows"]),
            round(theirs["rows"]),
            words,
        )
        for unit, words in (("flops", "FLOPs"), ("seconds", "seconds"))
    ]
