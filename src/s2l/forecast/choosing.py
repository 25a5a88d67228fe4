"""Measured probes of what follows recording: signal, clusters and draw on made-up losses, and a real export."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from s2l.config import RunSettings, SelectSettings
from s2l.data.card import Origin
from s2l.data.export import export
from s2l.flags import command
from s2l.forecast.sample import drawn, rows_at
from s2l.forecast.target import Budgeted
from s2l.ids import id_order
from s2l.pipeline import SIGNAL_CLUSTERS
from s2l.selection.select import RANDOM, select
from s2l.selection.signal import signal
from s2l.types import STATISTICS, Pool, Recorded, Rows, Trajectories

MOST_ROWS = 50_000
NO_SIGNAL = "not looked at: this is a forecast"


def made_up(
    ids: Shaped[np.ndarray, " n"], tokens_n: Int[np.ndarray, " n"], steps: Sequence[int], seed: int
) -> Trajectories:
    """Losses that fall from a row's own height at its own speed, with a little noise: k-means finds them as hard."""
    rng = np.random.default_rng(seed)
    height_n, floor_n, speed_n = rng.gamma(4, 0.7, (3, len(ids), 1))
    done_T = np.arange(1, len(steps) + 1) / len(steps)
    noise_nT = rng.normal(0, 0.02, (len(ids), len(steps))) ** 2
    loss_nT = 0.3 * floor_n + height_n * np.exp(-2 * speed_n * done_T) + noise_nT
    sums_nT = (loss_nT * tokens_n[:, None]).astype(np.float32)
    return Trajectories(ids, tuple(steps), tokens_n, dict.fromkeys(STATISTICS, sums_nT))


def choosing(
    rows: Rows, usable: Int[np.ndarray, " N"], steps: Sequence[int], budgets: Sequence[Budgeted], settings: RunSettings
) -> tuple[float, float]:
    """Seconds of the signal, and of clusters and draw on all of the `usable` rows, from at most MOST_ROWS of them."""
    by_id = usable[id_order(rows.ids[usable])]
    few = by_id[drawn(rows.ids[by_id], MOST_ROWS, settings.seed)]
    more = len(usable) / len(few)
    part = rows_at(rows, few)
    ones_n = np.ones(len(few), dtype=np.int64)
    recorded = Recorded(made_up(part.ids, ones_n, steps, settings.seed), part.source_N, part.sources, ones_n)
    fewer = tuple(str(max(1, min(len(few), round(asked.rows / more)))) for asked in budgets)
    asked = settings.select.model_copy(update={"budgets": fewer, "keep": None})
    looked = _seconds(lambda: signal(recorded.trajectories, SIGNAL_CLUSTERS, settings.seed))
    chosen = _seconds(lambda: select(part, recorded, asked, settings.seed))
    return looked, chosen * more


def exporting(pool: Pool, usable: Int[np.ndarray, " N"], asked: Budgeted, settings: RunSettings, folder: Path) -> float:
    """Seconds of one subset's export into `folder`, of as many rows as asked, chosen at random."""
    rows = pool.rows
    by_id = usable[id_order(rows.ids[usable])]
    ones_N = np.ones(len(by_id), dtype=np.int64)
    nothing = Trajectories(rows.ids[by_id], (), ones_N, {})
    recorded = Recorded(nothing, rows.source_N[by_id], rows.sources, ones_N)
    budget = SelectSettings(method=RANDOM, budgets=(str(asked.rows),))
    (selection,) = select(rows, recorded, budget, settings.seed)
    origin = Origin(asked.budget, settings.proxy.model, settings.seed, command(settings, "RUN"), NO_SIGNAL)
    folder.mkdir(parents=True)

    def write() -> object:
        length = settings.tokens.max_length
        return export(settings.pool, pool.container, rows, selection, recorded, origin, length, folder)

    return _seconds(write)


def _seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
