"""What selecting costs, in FLOPs and seconds, and from how many rows on it pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from s2l.data.tokens import load_tokens
from s2l.experiment.proxies import seen_by
from s2l.files import read_record
from s2l.forecast import flops
from s2l.forecast.flops import Amount, Shape, amount_of, shape_of
from s2l.proxy.checkpoints import find, load_model
from s2l.proxy.stage import PLAN
from s2l.run_folder import RunFolder
from s2l.selection.compare import RECORD, TRAIN
from s2l.selection.methods import get


@dataclass(frozen=True)
class ProxyCost:
    """What a proxy's run cost. training, forward: FLOPs of all of it, and of one pass.

    steps: of its checkpoints. rows: that it was trained on.
    """

    steps: tuple[int, ...]
    rows: int
    training: float
    forward: float
    train_seconds: float
    record_seconds: float


@dataclass(frozen=True)
class SelectionCost:
    """What one method's choice cost; nothing of it is shared with the other methods.

    train, record: of the proxy as far as the method needs it. more: what it measures beside the losses, whose seconds
    are in `choose_seconds` (the draw of all its budgets).
    """

    train_flops: float
    record_flops: float
    more_flops: float
    train_seconds: float
    record_seconds: float
    choose_seconds: float

    @property
    def flops(self) -> float:
        """Of all parts."""
        return self.train_flops + self.record_flops + self.more_flops

    @property
    def seconds(self) -> float:
        """Of all parts."""
        return self.train_seconds + self.record_seconds + self.choose_seconds

    def as_json(self) -> dict[str, float]:
        """The parts and their sums."""
        return asdict(self) | {"flops": self.flops, "seconds": self.seconds}


def proxy_cost(run: Path) -> ProxyCost:
    """Counted from the shapes of the run's proxy and rows, timed by its own clock."""
    folder = RunFolder(run)
    plan, steps = read_record(folder.proxy / PLAN), seen_by(folder)
    last = find(folder.proxy, steps[-1])
    assert last is not None, "a finished run has its checkpoints"
    shape, amount = _measured(last, folder)
    seconds = folder.seconds()
    return ProxyCost(
        steps=steps,
        rows=round(amount.rows),
        training=flops.training(shape, amount.times(plan["epochs"])),
        forward=flops.forward(shape, amount),
        train_seconds=seconds.get(TRAIN, 0.0),
        record_seconds=seconds.get(RECORD, 0.0),
    )


def made_anyway(steps: tuple[int, ...]) -> ProxyCost:
    """Of a run that another training left: what it cost is not known, and not charged."""
    return ProxyCost(steps=steps, rows=1, training=0.0, forward=0.0, train_seconds=0.0, record_seconds=0.0)


def _measured(checkpoint: Any, folder: RunFolder) -> tuple[Shape, Amount]:
    return shape_of(load_model(checkpoint, torch.device("cpu"))), amount_of(load_tokens(folder.tokens))


def selection_cost(
    proxy: ProxyCost, method: str, options: Mapping[str, Any], seen: tuple[int, ...], rows: int, choose_seconds: float
) -> SelectionCost:
    """Of a method that sees the checkpoints at the steps `seen`: training up to the last of them, recording those.

    rows: the most that it chose. Training in rounds is part of the draw, so its seconds are in `choose_seconds`.
    """
    asked = get(method)
    cost = asked.cost(asked.parse(options), seen)
    trained = cost.trained * (rows / proxy.rows if cost.in_rounds else seen[-1] / proxy.steps[-1])
    return SelectionCost(
        train_flops=proxy.training * trained,
        record_flops=proxy.forward * cost.recorded,
        more_flops=proxy.forward * cost.more,
        train_seconds=0.0 if cost.in_rounds else proxy.train_seconds * trained,
        record_seconds=proxy.record_seconds * cost.recorded / len(proxy.steps),
        choose_seconds=choose_seconds,
    )


def pays_from(selection: float, subset: float, full: float, pool_rows: float) -> float | None:
    """Rows of a pool from which on selecting and training on this subset costs less than training on all rows.

    selection, full: of a pool of `pool_rows` rows, both in proportion to its rows; subset: of training on the chosen
    rows, as many in any pool. None where no pool is large enough.
    """
    saved_per_row = (full - selection) / pool_rows
    return subset / saved_per_row if saved_per_row > 0 else None
