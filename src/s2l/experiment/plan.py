"""What an experiment would do: its cells, what is done of them, and an estimate of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from s2l.config import BUILTIN, ProxySettings
from s2l.experiment.bench import CELL
from s2l.experiment.cells import Cell, cells_of
from s2l.experiment.questions import NOWHERE, PARTS, part_of
from s2l.experiment.recipe import FULL, ExperimentSettings
from s2l.files import read_record
from s2l.pipeline import read_from
from s2l.progress import Progress
from s2l.proxy.plan import OWN
from s2l.selection.budget import Budget, parse_budget
from s2l.target.schedule import steps_for
from s2l.target.settings import TrainSettings
from s2l.types import Pool

BYTES_PER_TOKEN = 3.0
"""Of mathematical prose in the built-in tokenizer, about; the estimate is no better than this."""


def planned(settings: ExperimentSettings, out: Path, progress: Progress) -> dict[str, Any]:
    """The cells with their rows, steps and about how many FLOPs and seconds; reads the pool, trains nothing.

    FLOPs are those of `builtin` models (None of others), seconds by the pace of cells of the target that are done.
    """
    pool = read_from(settings.pool, None, progress)
    parts = _parts(pool, settings)
    tokens = float(
        np.mean(np.minimum(pc.binary_length(pool.contents).to_numpy() / BYTES_PER_TOKEN, settings.tokens.max_length))
    )
    done = {
        cell: read_record(path) for cell in cells_of(settings) if (path := out / "cells" / cell.folder / CELL).is_file()
    }
    pace = {target: _pace(done, target) for target in settings.targets}
    cells = [
        _cell(cell, settings, parts["pool"], tokens, pace[cell.target], cell in done) for cell in cells_of(settings)
    ]
    waiting = [cell for cell in cells if not cell["done"]]
    return {
        "parts": parts,
        "tokens_per_row": tokens,
        "proxies": [_proxy(name, proxy, settings, parts["pool"], tokens) for name, proxy in settings.proxies.items()],
        "cells": cells,
        "left": {
            "cells": len(waiting),
            "rows_seen": sum(cell["rows_seen"] for cell in waiting),
            "flops": _sum([cell["flops"] for cell in waiting]),
            "seconds": _sum([cell["seconds"] for cell in waiting]),
        },
    }


def _parts(pool: Pool, settings: ExperimentSettings) -> dict[str, int]:
    if settings.split is None:
        return {"pool": len(pool)}
    part_N = part_of(pool, settings.split)
    counts = np.bincount(part_N[part_N != NOWHERE], minlength=len(PARTS))
    return dict(zip(PARTS, counts.tolist(), strict=True))


def _cell(
    cell: Cell, settings: ExperimentSettings, pool_rows: int, tokens: float, pace: float | None, done: bool
) -> dict[str, Any]:
    target = settings.targets[cell.target].model_copy(update={"match": cell.matching, "seed": cell.seed})
    rows = _rows(parse_budget(cell.budget), pool_rows, tokens)
    steps = steps_for(rows, target, pool_rows)
    seen = round(target.epochs * (pool_rows if cell.matching == "steps" or cell.label == FULL else rows))
    return {
        "cell": cell.folder,
        "done": done,
        "rows": rows,
        "steps": steps,
        "rows_seen": seen,
        "flops": _flops(target, seen * tokens),
        "seconds": None if pace is None else pace * seen,
    }


def _rows(budget: Budget, pool_rows: int, tokens: float) -> int:
    """About how many rows the budget is; a draw says it exactly."""
    if budget.kind == "tokens":
        return max(1, min(pool_rows, int(budget.amount / Fraction(tokens))))
    return int(budget.amount if budget.kind == "rows" else budget.amount * pool_rows + Fraction(1, 2))


def _proxy(
    name: str, proxy: ProxySettings, settings: ExperimentSettings, pool_rows: int, tokens: float
) -> dict[str, Any]:
    epochs = proxy.epochs or OWN["epochs"]
    passes = 3 * epochs + proxy.checkpoints
    return {
        "proxy": name,
        "runs": min(settings.seeds, settings.proxy_seeds),
        "forward_passes": passes,
        "flops": _flops(proxy, pool_rows * tokens, passes / 3),
    }


def _flops(model: TrainSettings | ProxySettings, tokens: float, epochs: float = 1) -> float | None:
    """Six a weight and token: twelve squares of the width in a layer, and half a head (responses alone)."""
    if model.model != BUILTIN:
        return None
    weights = 12 * model.layers * model.width**2 + model.width * model.vocabulary / 2
    return 6 * weights * tokens * epochs


def _pace(done: Mapping[Cell, Mapping[str, Any]], target: str) -> float | None:
    """Seconds for each row that a target sees."""
    trained = [result["training"] for cell, result in done.items() if cell.target == target]
    seen = sum(training["rows"] * training["epochs"] for training in trained)
    return sum(training["seconds"] for training in trained) / seen if seen else None


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
