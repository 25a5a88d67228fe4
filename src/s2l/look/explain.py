"""One row: its losses beside its cluster's and the pool's, why it is in or out of every subset, who is like it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from s2l import __version__
from s2l.look.opened import Opened, open_run
from s2l.look.places import find_row
from s2l.look.verdicts import Verdicts
from s2l.selection.chunks import over_chunks
from s2l.types import STATISTICS, Trajectories

NOT = "not "


def explain(
    path: Path, meant: str, *, subset: str | None = None, nearest: int = 5, examples: bool = True
) -> dict[str, Any]:
    """What is known of the row, JSON-able; docs/look.md says what each figure means.

    meant: an id, the beginning of one, or `file:line`. subset: whose cluster is shown beside the row (default: the
    first drawn from clusters). nearest: rows of like trajectory to name. Raises SettingsError for a row or a subset
    that is not there.
    """
    run = open_run(path, examples)
    row = find_row(run.rows, meant)
    place = int(run.place_P[row])
    found: dict[str, Any] = {"s2l": __version__, "run": str(path), "row": _row(run, row, place)}
    verdicts = [run.verdicts(name) for name in run.subsets]
    shown = run.clustered(subset) if subset else next((each for each in verdicts if each.clusters), None)
    found["subsets"] = [_verdict(run, each, row) for each in verdicts]
    if place < 0:
        return found | dict.fromkeys(("steps", "losses", "cluster", "statistics", "nearest"))
    trajectories = run.trajectories
    return found | {
        "steps": list(trajectories.steps),
        "losses": _losses(run, shown, row, place),
        "cluster": None if shown is None else _cluster(shown, row),
        "statistics": {name: trajectories.mean(name, np.array([place]))[0].tolist() for name in STATISTICS},
        "nearest": _nearest(run, verdicts, shown, place, nearest),
    }


def distances(trajectories: Trajectories, trajectory_T: Float[np.ndarray, " T"]) -> Float[np.ndarray, " N"]:
    """Euclidean distance of every row's loss trajectory to this one, nats."""

    def chunk(rows: slice) -> Float[np.ndarray, " n"]:
        distance_n: Float[np.ndarray, " n"] = np.sqrt(
            np.square(trajectories.mean("nll", rows) - trajectory_T).sum(axis=1)
        )
        return distance_n

    return np.concatenate(list(over_chunks(chunk, len(trajectories))))


def _row(run: Opened, row: int, place: int) -> dict[str, Any]:
    """Who it is. text: in pieces, as the proxy read it; excluded: why it could not be chosen."""
    read: dict[str, Any] = {"tokens": None, "response_tokens": None, "truncated": None, "pieces": None}
    if place >= 0:
        tokens = run.texts.tokens
        read = {
            "tokens": int(tokens.lengths[place]),
            "response_tokens": int(run.trajectories.tokens_N[place]),
            "truncated": bool(tokens.truncated_N[place]),
            "pieces": run.texts.pieces(place) if run.examples else None,
        }
    excluded = None if place >= 0 else run.reason(run.verdicts(run.subsets[0]), row).removeprefix("excluded: ")
    who = {name: value for name, value in run.told(row).items() if name != "text"}
    return who | {"occurrence": int(run.rows.occurrence_N[row])} | read | {"excluded": excluded}


def _verdict(run: Opened, verdicts: Verdicts, row: int) -> dict[str, Any]:
    """Why a row is in or out. in_line: its place among those that were drawn from with it, by score, then id."""
    queue, in_line = _queue(run, verdicts, row), None
    if queue is not None:
        score = verdicts.score_P[row]
        before_Q = verdicts.score_P[queue] < score
        before_Q |= (verdicts.score_P[queue] == score) & (run.rows.ids[queue] < run.rows.ids[row])
        in_line = {"at": int(before_Q.sum()) + 1, "of": len(queue), "drawn": int(verdicts.kept_P[queue].sum())}
    cluster = int(verdicts.cluster_P[row])
    return {
        "name": verdicts.name,
        "method": verdicts.manifest["method"],
        "kept": bool(verdicts.kept_P[row]),
        "reason": run.reason(verdicts, row),
        "cluster": cluster if cluster >= 0 else None,
        "score": float(verdicts.score_P[row]) if queue is not None else None,
        "in_line": in_line,
    }


def _queue(run: Opened, verdicts: Verdicts, row: int) -> Int[np.ndarray, " Q"] | None:
    """The rows that were drawn from together with this one; None where it was not drawn from."""
    drawn = verdicts.reason(row).removeprefix(NOT)
    if run.place_P[row] < 0 or not drawn.startswith("drawn"):
        return None
    codes = [code for code, reason in enumerate(verdicts.reasons) if reason.removeprefix(NOT) == drawn]
    return np.flatnonzero(np.isin(verdicts.reason_P, codes))


def _losses(run: Opened, shown: Verdicts | None, row: int, place: int) -> dict[str, Any]:
    """Loss at every checkpoint, nats per response token: of the row, of the mean of its cluster, of the mean of all.

    below: the share of rows whose loss at the end is lower.
    """
    trajectories, n_rows = run.trajectories, len(run.trajectories)
    label_N = np.zeros(n_rows, dtype=np.int64)
    in_cluster = None
    if shown is not None and shown.cluster_P[row] >= 0:
        label_N = (shown.cluster_P[run.row_N] == shown.cluster_P[row]).astype(np.int64)
        in_cluster = int(label_N.sum())
    sums_KT = run.sums(label_N, 2)
    last_N = trajectories.sums["nll"][:, -1] / trajectories.tokens_N
    return {
        "row": trajectories.mean("nll", np.array([place]))[0].tolist(),
        "cluster": None if in_cluster is None else (sums_KT[1] / in_cluster).tolist(),
        "pool": (sums_KT.sum(axis=0) / n_rows).tolist(),
        "below": float((last_N < last_N[place]).mean()),
    }


def _cluster(shown: Verdicts, row: int) -> dict[str, Any] | None:
    """The row's cluster in the subset shown. nearer: share of its rows that lie nearer to its centre."""
    cluster = int(shown.cluster_P[row])
    if cluster < 0:
        return None
    members = np.flatnonzero(shown.cluster_P == cluster)
    distance, known = float(shown.distance_P[row]), not np.isnan(shown.distance_P[row])
    return {
        "subset": shown.name,
        "cluster": cluster,
        "of": shown.clusters,
        "rows": len(members),
        "drawn": int(shown.kept_P[members].sum()),
        "distance": distance if known else None,
        "nearer": float((shown.distance_P[members] < distance).mean()) if known else None,
    }


def _nearest(
    run: Opened, verdicts: Sequence[Verdicts], shown: Verdicts | None, place: int, most: int
) -> list[dict[str, Any]]:
    """The rows of most like trajectories, ties by id."""
    trajectories = run.trajectories
    distance_N = distances(trajectories, trajectories.mean("nll", np.array([place]))[0])
    distance_N[place] = np.inf
    near = np.argsort(distance_N, kind="stable")[: min(most, len(trajectories) - 1)]
    return [
        run.told(row)
        | {
            "distance": float(distance_N[at]),
            "cluster": None if shown is None or shown.cluster_P[row] < 0 else int(shown.cluster_P[row]),
            "kept_in": run.kept_in(verdicts, row),
        }
        for at, row in zip(near.tolist(), run.row_N[near].tolist(), strict=True)
    ]
