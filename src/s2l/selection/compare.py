"""Methods side by side on one recorded run: what each would choose at a budget, how steadily, and at what cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from s2l import __version__, config
from s2l.config import SelectSettings
from s2l.errors import S2LError, SettingsError
from s2l.progress import SILENT, Progress
from s2l.selection import agreement
from s2l.selection.budget import Budget
from s2l.selection.coverage import Space, coverage, sample
from s2l.selection.draw import most_rows
from s2l.selection.entrants import Choice, Entrant, choices, choose
from s2l.selection.grid import Features
from s2l.selection.kmeans import kmeans
from s2l.selection.methods.s2l import CLUSTERS
from s2l.selection.purity import Purity, purity_of
from s2l.selection.representation import Represented
from s2l.selection.scores import column
from s2l.selection.select import check
from s2l.selection.stability import Stability, stability
from s2l.selection.unit import UNITS, directions
from s2l.types import Recorded, Representations

COMPARISON = "comparison.json"
"""Where a run's folder keeps the figures."""
TRAIN, RECORD = "train the proxy", "record trajectories"
"""The run's stages that scores come from, as its seconds are kept."""

Vectors = Float[np.ndarray, "N D"]
Value = TypeVar("Value")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Known:
    """What is known of the run beside what methods see.

    read: rows of the pool. truncated_N, repeat_N: which rows were cut at max_length, which are exact repeats of others.
    there: the representations that are recorded; SettingsError for those that are not. epochs: of the proxy's training.
    seconds: by stage.
    """

    read: int
    seed: int
    truncated_N: Bool[np.ndarray, " N"]
    repeat_N: Bool[np.ndarray, " N"]
    there: Representations
    epochs: float
    seconds: Mapping[str, float]


def comparison(
    recorded: Recorded,
    known: Known,
    entered: Sequence[Entrant],
    budget: Budget,
    *,
    seeds: int = 3,
    embeddings: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """The figures, JSON-able; docs/compare.md says what each means. All but the seconds are the same every time.

    seeds: other seeds to draw with. embeddings: record them if they are not there.
    Memory beside the losses and what methods need: 9 N bytes a method, 4 N D of embeddings, and that of
    `nearest_distances`.
    Raises SettingsError for a budget that cannot be, and where a method asked for by name cannot choose on this run.
    """
    ids, steps = recorded.trajectories.ids, recorded.trajectories.steps
    check(SelectSettings(budgets=(str(budget),)), known.read, ids, recorded.lengths_N, frozenset())
    recorded = replace(recorded, most=most_rows(budget, recorded, read=known.read))
    chosen, left_out = choices(recorded, known.there, entered, budget, known.read, known.seed, progress)
    units_ND, notes = _embeddings(recorded, known.there, embeddings)
    sampled = sample(ids, known.seed)
    spaces: dict[str, Space | None] = {
        "losses": lambda rows: recorded.trajectories.mean("nll", rows),
        "embeddings": None if units_ND is None else lambda rows: units_ND[rows],
    }
    methods: list[dict[str, Any]] = []
    with progress.stage("coverage and stability", len(chosen), "methods") as advance:
        for choice in chosen:
            distances = _coverage(spaces, sampled, choice)
            steady = _stability(recorded, known, choice, budget, seeds)
            methods.append(
                {
                    "method": choice.name,
                    "settings": choice.entrant.settings.model_dump(mode="json"),
                    **_of_rows(recorded, known, choice.kept_N),
                    "coverage": distances,
                    "stability": {**asdict(steady), "by_chance": float(choice.kept_N.mean())},
                    "cost": _cost(choice, known, steps),
                }
            )
            advance(1)
    sizes = [method["rows"] for method in methods]
    return {
        "s2l": __version__,
        "budget": str(budget),
        "seed": known.seed,
        "other_seeds": seeds,
        "read": known.read,
        "pool": _of_rows(recorded, known, np.ones(len(recorded), dtype=bool)),
        "methods": methods,
        "left_out": [asdict(method) for method in left_out],
        "jaccard": _matrix([choice.kept_N for choice in chosen], agreement.jaccard),
        "jaccard_by_chance": _matrix(sizes, lambda a, b: agreement.jaccard_by_chance(a, b, len(recorded))),
        "rank_correlation": _matrix([choice.ranking_N for choice in chosen], agreement.rank_correlation),
        "coverage_rows": len(sampled),
        "purity": _purity(recorded, units_ND, known.seed, progress),
        "notes": notes,
    }


def _embeddings(recorded: Recorded, there: Representations, wanted: bool) -> tuple[Vectors | None, list[str]]:
    """Directions of the responses' embeddings at the last checkpoint; or why there are none, where none are wanted."""
    more = recorded.more if wanted and recorded.more is not None else there
    try:
        units_ND = directions(more.embeddings("response", column("late", recorded.trajectories.steps)))
    except S2LError as error:
        if wanted:
            raise
        return None, [f"without coverage and purity by embeddings, for which ask with --embeddings: {error}"]
    units_ND /= UNITS
    return units_ND, []


def _coverage(spaces: Mapping[str, Space | None], sampled: Int[np.ndarray, " S"], choice: Choice) -> dict[str, Any]:
    """By what a method chose, in each space; None in one that there is not."""
    return {
        name: None if space is None else asdict(coverage(space, sampled, choice.kept_N))
        for name, space in spaces.items()
    }


def _stability(recorded: Recorded, known: Known, choice: Choice, budget: Budget, seeds: int) -> Stability:
    """Of what a method chose; not known where each seed would have to be trained or recorded for."""
    seen = replace(recorded, more=known.there)

    def draw(settings: config.Settings, seed: int) -> Bool[np.ndarray, " N"]:
        return choose(seen, replace(choice.entrant, settings=settings), budget, known.read, seed, SILENT).kept_N

    try:
        return stability(draw, choice.entrant.settings, known.seed, seeds, choice.kept_N)
    except SettingsError:
        return Stability(None, None)


def _of_rows(recorded: Recorded, known: Known, kept_N: Bool[np.ndarray, " N"]) -> dict[str, Any]:
    """What the kept rows are. mean_loss: of the rows' losses at the last checkpoint, nats per response token."""
    trajectories = recorded.trajectories
    losses_N = trajectories.sums["nll"][:, -1].astype(np.float64) / trajectories.tokens_N
    sources = np.bincount(recorded.source_N[kept_N], minlength=len(recorded.sources))
    return {
        "rows": int(kept_N.sum()),
        "tokens": int(recorded.lengths_N[kept_N].sum()),
        "mean_loss": float(losses_N[kept_N].mean()),
        "truncated": int(known.truncated_N[kept_N].sum()),
        "repeats": int(known.repeat_N[kept_N].sum()),
        "sources": dict(zip(recorded.sources, sources.tolist(), strict=True)),
    }


def _cost(choice: Choice, known: Known, steps: tuple[int, ...]) -> dict[str, Any]:
    """Work in forward passes of the proxy over the pool; seconds of its parts, None where they were not measured."""
    cost = choice.entrant.method.cost(choice.entrant.settings, steps)
    return {
        "passes": cost.passes(known.epochs),
        **asdict(cost),
        "seconds": {
            "train": _part(known.seconds.get(TRAIN), cost.trained),
            "record": _part(known.seconds.get(RECORD), cost.recorded / len(steps)),
            "more": None if cost.more else 0.0,
            "choose": round(choice.seconds, 3),
        },
    }


def _part(seconds: float | None, share: float) -> float | None:
    if share == 0:
        return 0.0
    return None if seconds is None else round(seconds * share, 3)


def _purity(recorded: Recorded, units_ND: Vectors | None, seed: int, progress: Progress) -> dict[str, Any] | None:
    """Of k-means clusters, 100 or as many as can be, by losses and by embeddings; None for rows of one source."""
    trajectories, source_N = recorded.trajectories, recorded.source_N
    if (source_N == source_N[0]).all():
        return None

    def found(features_ND: Features) -> Purity:
        folder = trajectories.folder
        clusters = kmeans(features_ND, trajectories.ids, CLUSTERS, seed, at_most=True, folder=folder, progress=progress)
        return purity_of(clusters.label_N, source_N, trajectories.ids, seed)

    by_embeddings = None if units_ND is None else found(units_ND)
    return {
        "largest_source": float(np.bincount(source_N).max() / len(source_N)),
        "losses": asdict(found(Represented(trajectories, "raw"))),
        "embeddings": by_embeddings and asdict(by_embeddings),
    }


def _matrix(values: Sequence[Value], of: Callable[[Value, Value], Result]) -> list[list[Result]]:
    """`of` every two of the values."""
    return [[of(one, other) for other in values] for one in values]
