"""The clusters of a subset, a row each: size, rows drawn, mean losses, sources, the most central example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from s2l import __version__
from s2l.errors import SettingsError, printable, shown
from s2l.look.opened import Opened, open_run
from s2l.look.verdicts import Verdicts

SORTS = ("number", "size", "drawn", "share", "first", "last", "fall")
TOP_SOURCES = 3


def clusters(
    path: Path,
    *,
    subset: str | None = None,
    sort: str = "number",
    reverse: bool = False,
    most: int | None = None,
    examples: bool = True,
) -> dict[str, Any]:
    """The clusters, JSON-able. subset: whose (default: the first that has any). most: no more than so many of them.

    Raises SettingsError for a subset that is not there or has no clusters, and for what cannot be sorted by.
    """
    if sort not in SORTS:
        raise SettingsError(f"--sort {shown(sort)}: there are: {', '.join(SORTS)}")
    run = open_run(path, examples)
    verdicts = run.clustered(subset)
    found = _table(run, verdicts)
    found.sort(key=lambda cluster: (cluster[sort], cluster["number"]))
    ordered = found[::-1] if reverse else found
    listed = ordered[:most]
    central_K = _central(run, verdicts)
    for cluster in listed:
        cluster["central"] = run.told(int(central_K[cluster["number"]]))
    return {
        "s2l": __version__,
        "run": str(path),
        "subset": verdicts.name,
        "method": verdicts.manifest["method"],
        "sort": sort,
        "of": len(found),
        "steps": list(run.trajectories.steps),
        "all": _all(run, verdicts),
        "clusters": listed,
    }


def _table(run: Opened, verdicts: Verdicts) -> list[dict[str, Any]]:
    """Figures of every cluster that has rows."""
    count, rows = verdicts.clusters, run.rows
    clustered = verdicts.cluster_P >= 0
    sizes_K = np.bincount(verdicts.cluster_P[clustered], minlength=count)
    drawn_K = np.bincount(verdicts.cluster_P[clustered & verdicts.kept_P], minlength=count)
    sums_KT = run.sums(verdicts.cluster_P[run.row_N], count)
    cells = verdicts.cluster_P[clustered] * len(rows.sources) + rows.source_N[clustered]
    sources_KS = np.bincount(cells, minlength=count * len(rows.sources)).reshape(count, -1)
    return [
        {
            "number": number,
            **_figures(run, int(sizes_K[number]), int(drawn_K[number]), sums_KT[number]),
            "sources": _top(sources_KS[number], rows.sources),
        }
        for number in np.flatnonzero(sizes_K).tolist()
    ]


def _all(run: Opened, verdicts: Verdicts) -> dict[str, Any]:
    """The same figures of all rows that could be chosen."""
    size = len(run.trajectories)
    return _figures(run, size, int(verdicts.kept_P.sum()), run.sums(np.zeros(size, dtype=np.int64), 1)[0])


def _figures(run: Opened, size: int, drawn: int, sum_T: Float[np.ndarray, " T"]) -> dict[str, Any]:
    """Of some rows and the sum of their trajectories; losses are means over the rows, nats per response token.

    first: at the first checkpoint of training, not at one before it.
    """
    loss_T = sum_T / size
    return {
        "size": size,
        "drawn": drawn,
        "share": drawn / size,
        "first": float(loss_T[run.first]),
        "last": float(loss_T[-1]),
        "fall": float(loss_T[run.first] - loss_T[-1]),
        "losses": loss_T.tolist(),
    }


def _top(counts_S: Int[np.ndarray, " S"], sources: tuple[str, ...]) -> list[dict[str, Any]]:
    """The sources that most of a cluster's rows are from, ties by name."""
    largest = np.argsort(-counts_S, kind="stable")[:TOP_SOURCES]
    return [
        {"source": printable(sources[source]), "rows": int(counts_S[source])} for source in largest if counts_S[source]
    ]


def _central(run: Opened, verdicts: Verdicts) -> Int[np.ndarray, " K"]:
    """The row nearest to each cluster's centre, ties by id; by id alone where there are no distances."""
    row_N = run.row_N
    nearest_first = np.argsort(verdicts.distance_P[row_N], kind="stable")[::-1]
    central_K = np.zeros(verdicts.clusters, dtype=np.int64)
    ordered = row_N[nearest_first]
    central_K[verdicts.cluster_P[ordered]] = ordered
    return central_K
