"""A finished run with S2L's clusters, and the rows of it that are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

from s2l.config import RunSettings, SelectSettings
from s2l.data.tokens import load_tokens
from s2l.errors import DataError
from s2l.files import read_record
from s2l.pipeline import recall
from s2l.progress import Progress
from s2l.proxy.plan import PLAN
from s2l.proxy.plan import Plan as ProxyPlan
from s2l.run_folder import RunFolder
from s2l.selection.budget import parse_budget
from s2l.selection.methods import get
from s2l.theory.sample import kept_rows, pairs, plain
from s2l.theory.settings import VerifySettings
from s2l.types import Plan, Recorded, Tokens

S2L = "s2l"


@dataclass(frozen=True)
class Run:
    """A finished run, as far as it is looked at.

    select: how S2L's subset is drawn. repeat_N: exact repeats of another row. read: rows of the pool as read.
    """

    folder: RunFolder
    settings: RunSettings
    plan: ProxyPlan
    tokens: Tokens
    recorded: Recorded
    select: SelectSettings
    clusters: Plan
    repeat_N: Bool[np.ndarray, " N"]
    read: int

    @property
    def ids(self) -> Shaped[np.ndarray, " N"]:
        """Of the rows that can be chosen, in id order."""
        return self.recorded.trajectories.ids

    @property
    def cluster_N(self) -> Int[np.ndarray, " N"]:
        """S2L's cluster of each."""
        return self.clusters.group_N


@dataclass(frozen=True)
class Looked:
    """Rows that are looked at, as places in id order. seed: of the samples, and of all else that is drawn.

    pairs: two at least of every cluster they come from, no exact repeat among them. plain: at random. pool: where the
    mean gradient is measured. budgets: S2L's subset of the pool at each.
    """

    seed: int
    pairs: Int[np.ndarray, " n"]
    plain: Int[np.ndarray, " m"]
    pool: Int[np.ndarray, " P"]
    budgets: Mapping[str, Bool[np.ndarray, " P"]]


def opened(folder: RunFolder, made: RunSettings, progress: Progress) -> Run:
    """The run, with S2L's clusters as its own draw makes them."""
    rows, recorded, _ = recall(folder, made, progress)
    trajectories = recorded.trajectories
    select = made.select if made.select.method == S2L else SelectSettings(budgets=made.select.budgets)
    method = get(S2L)
    place_P, there_P = rows.stand_in(trajectories.ids)
    repeat_N = np.zeros(len(trajectories), dtype=bool)
    repeat_N[place_P[there_P]] = rows.occurrence_N[there_P] > 0
    return Run(
        folder=folder,
        settings=made,
        plan=ProxyPlan.from_json(read_record(folder.proxy / PLAN)),
        tokens=load_tokens(folder.tokens),
        recorded=recorded,
        select=select,
        clusters=method.plan(recorded, method.parse(select.options), made.seed, progress),
        repeat_N=repeat_N,
        read=len(rows),
    )


def looked_at(run: Run, asked: VerifySettings, progress: Progress) -> Looked:
    """The rows that are looked at: samples, and S2L's subset for each budget that leaves rows out.

    DataError where fewer than two clusters have two rows.
    """
    seed = run.settings.seed if asked.seed is None else asked.seed
    sizes_K = np.bincount(run.cluster_N)
    if (sizes_K > 1).sum() < 2:
        raise DataError(f"{len(run.ids)} rows in {len(sizes_K)} clusters: too few share one to compare their gradients")
    pool = plain(run.ids, asked.pool_rows or len(run.ids), seed, "verify/pool")
    keep = frozenset(id_.encode() for id_ in run.folder.claimed()["kept_on_request"])
    budgets = {}
    written = (asked.budget or run.select.budgets) if asked.draws else ()
    for budget in dict.fromkeys(str(parse_budget(one)) for one in written):
        kept_P = kept_rows(run.clusters, run.recorded, run.select, budget, pool, read=run.read, keep=keep)
        if kept_P.all():
            progress.note(f"budget {budget} keeps every row: its mean gradient is the pool's, and is left out")
        else:
            budgets[budget] = kept_P
    once = np.flatnonzero(~run.repeat_N)  # the gradients of repeats are equal, whatever clusters mean
    return Looked(
        seed=seed,
        pairs=once[pairs(run.ids[once], run.cluster_N[once], asked.rows, seed)],
        plain=plain(run.ids, asked.rows, seed, "verify/plain"),
        pool=pool,
        budgets=budgets,
    )
