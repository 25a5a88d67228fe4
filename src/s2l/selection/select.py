"""Recorded trajectories → Selections: the method (and its random twin) at every budget, with a reason per row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from s2l import config
from s2l.config import SelectSettings
from s2l.errors import shown
from s2l.progress import SILENT, Progress
from s2l.selection.budget import Budget, parse_budget, resolve
from s2l.selection.draw import Queues, among, check_tokens, most_rows, queue_up, rows_for
from s2l.selection.methods import Method, get
from s2l.types import Plan, Recorded, Rows, Selection

RANDOM = "random"
ON_REQUEST = "kept on request"


@dataclass(frozen=True)
class Planned:
    """A method's plan for the recorded rows, lined up to be drawn from."""

    method: Method
    settings: config.Settings
    plan: Plan
    queues: Queues


def settled(settings: SelectSettings) -> SelectSettings:
    """The settings with the method's own parsed; SettingsError for what is not there, or missing."""
    parsed = get(settings.method).parse(settings.options)
    parsed.require()
    return settings.model_copy(update={"options": parsed.model_dump(mode="json", exclude_unset=True)})


def check(
    settings: SelectSettings,
    read: int,
    ids: Shaped[np.ndarray, " N"],
    lengths_N: Int[np.ndarray, " N"],
    keep_ids: frozenset[bytes],
) -> tuple[Budget, ...]:
    """The budgets, each once; SettingsError where one, or an id to keep, cannot be met by the scorable rows `ids`.

    read: rows in the pool. Needs no losses, so that a mistake shows before the proxy is trained.
    """
    budgets = tuple(dict.fromkeys(parse_budget(written) for written in settings.budgets))
    for budget in budgets:
        if budget.kind == "tokens":
            check_tokens(budget, lengths_N)
        else:
            resolve(budget, read=read, scorable=len(ids))
    among(ids, keep_ids)
    return budgets


def select(
    rows: Rows,
    recorded: Recorded,
    settings: SelectSettings,
    seed: int,
    keep_ids: frozenset[bytes] = frozenset(),
    progress: Progress = SILENT,
    *,
    excluded: Mapping[bytes, str] | None = None,
) -> list[Selection]:
    """One Selection of the whole pool per budget, each followed by its random twin if `with_random`.

    rows: in file order. excluded: reasons of the rows that the tokenizer turned away, besides `rows.excluded`.
    Raises SettingsError for a budget, a method, one of its settings or an id to keep that cannot be.
    """
    budgets = check(settings, len(rows), recorded.trajectories.ids, recorded.lengths_N, keep_ids)
    chosen = {settings.method: settings.options}
    if settings.with_random:
        chosen.setdefault(RANDOM, {})
    parsed = [((method := get(name)), method.parse(options)) for name, options in chosen.items()]
    strata_N = recorded.source_N if settings.balance == "source" else None
    recorded = replace(recorded, most=max(most_rows(budget, recorded, read=len(rows)) for budget in budgets))
    ways = [
        line_up(recorded, method, options, seed, progress, strata_N=strata_N, keep=keep_ids)
        for method, options in parsed
    ]
    turned_away = {**rows.excluded, **(excluded or {})}
    common = {"seed": seed, "balance": settings.balance, "kept_on_request": len(keep_ids)}
    places = rows.stand_in(recorded.trajectories.ids)
    return [_selection(rows, recorded, places, way, budget, turned_away, common) for budget in budgets for way in ways]


def line_up(
    recorded: Recorded,
    method: Method,
    settings: config.Settings,
    seed: int,
    progress: Progress = SILENT,
    *,
    strata_N: Int[np.ndarray, " N"] | None = None,
    keep: frozenset[bytes] = frozenset(),
) -> Planned:
    """The method's plan, made and lined up; SettingsError for what the method or the rows to keep cannot be."""
    plan = method.plan(recorded, settings, seed, progress)
    return Planned(method, settings, plan, queue_up(plan, recorded.trajectories.ids, strata_N=strata_N, keep=keep))


def _selection(
    rows: Rows,
    recorded: Recorded,
    places: tuple[Int[np.ndarray, " P"], Bool[np.ndarray, " P"]],
    way: Planned,
    budget: Budget,
    excluded: Mapping[bytes, str],
    common: Mapping[str, Any],
) -> Selection:
    """The verdict on every row, from id order to file order (`places`: where each row stands, and whether it does)."""
    size = rows_for(budget, way.queues, recorded, read=len(rows))
    kept_N, taken_J = way.queues.take(size), way.queues.share(size)
    at_P, recorded_P = places
    assert recorded_P.sum() == len(recorded), "recorded rows are rows of the pool"
    at_P = at_P[recorded_P]
    groups = [_group(way, recorded, common["balance"] == "source", j, int(taken)) for j, taken in enumerate(taken_J)]
    reasons = [text for group in groups for text in _reasons(group, way.plan)]
    reasons.append(ON_REQUEST)
    reason_N = np.where(way.queues.requested_N, len(reasons) - 1, 2 * way.queues.queue_N + ~kept_N)

    turned_away = [excluded[id_] for id_ in rows.ids[~recorded_P].tolist()]
    code = {reason: len(reasons) + i for i, reason in enumerate(dict.fromkeys(turned_away))}
    reasons += [f"excluded: {reason}" for reason in code]
    reason_P = np.empty(len(rows), dtype=np.int64)
    reason_P[recorded_P], reason_P[~recorded_P] = reason_N[at_P], [code[reason] for reason in turned_away]

    def in_file_order(values_N: np.ndarray, otherwise: bool | int | float) -> np.ndarray:
        values_P = np.full(len(rows), otherwise, dtype=values_N.dtype)
        values_P[recorded_P] = values_N[at_P]
        return values_P

    grouped = way.plan.group_N.any()
    return Selection(
        method=way.method.name,
        budget=size,
        ids=rows.ids,
        kept_N=in_file_order(kept_N, False),
        cluster_N=in_file_order(way.plan.group_N if grouped else np.full(len(recorded), -1), -1),
        score_N=in_file_order(way.plan.score_N, np.nan),
        distance_N=in_file_order(way.plan.distance_N, np.nan),
        reason_N=reason_P,
        reasons=tuple(reasons),
        facts={
            "budget": str(budget),
            "settings": way.settings.model_dump(mode="json"),
            **common,
            **way.plan.facts,
            "groups": groups,
        },
    )


def _group(way: Planned, recorded: Recorded, balanced: bool, queue: int, drawn: int) -> dict[str, Any]:
    """What the report says of a queue: its group, its source where sources are balanced, rows waiting and drawn."""
    first = way.queues.first_J[queue]
    group: dict[str, Any] = {}
    if way.plan.group_N.any():
        group["group"] = int(way.plan.group_N[first])
    if balanced:
        group["source"] = recorded.sources[recorded.source_N[first]]
    if way.queues.last_J[queue]:
        group["last"] = True
    return group | {"rows": int(way.queues.sizes_J[queue]), "drawn": drawn}


def _reasons(group: Mapping[str, Any], plan: Plan) -> tuple[str, str]:
    """Why a row of the group is kept, and why not."""
    names = []
    if "group" in group:
        name = shown(plan.group_names[group["group"]]) if plan.group_names else group["group"]
        names.append(f"{plan.group_word} {name}")
    if group.get("last"):
        names = [plan.last_name] if plan.last_name else ["the rows turned away", *names]
    if "source" in group:
        names.append(f"source {shown(group['source'])}")
    where = f" from {' of '.join(names)}" if names else ""
    told = f"drawn{where} ({group['drawn']} of {group['rows']})"
    return told, f"not {told}"
