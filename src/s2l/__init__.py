"""S2L (SmallToLarge): choose the part of fine-tuning data to train on, by the loss trajectories of a small proxy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s2l.data.pool import pool_from_dataset, read_pool
    from s2l.data.tokens import tokenize
    from s2l.library import select
    from s2l.pipeline import draw, run
    from s2l.proxy.stage import proxy_tokenizer, train_proxy
    from s2l.recording.callback.recorder import TrajectoryRecorder
    from s2l.scoring.record import record
    from s2l.selection.kmeans import kmeans
    from s2l.selection.select import select as select_rows
    from s2l.selection.signal import signal

__version__ = "0.1.0"

_HOMES = {
    "TrajectoryRecorder": "s2l.recording.callback.recorder",
    "draw": "s2l.pipeline",
    "kmeans": "s2l.selection.kmeans",
    "pool_from_dataset": "s2l.data.pool",
    "proxy_tokenizer": "s2l.proxy.stage",
    "read_pool": "s2l.data.pool",
    "record": "s2l.scoring.record",
    "run": "s2l.pipeline",
    "select": "s2l.library",
    "select_rows": "s2l.selection.select",
    "signal": "s2l.selection.signal",
    "tokenize": "s2l.data.tokens",
    "train_proxy": "s2l.proxy.stage",
}

__all__ = [
    "TrajectoryRecorder",
    "draw",
    "kmeans",
    "pool_from_dataset",
    "proxy_tokenizer",
    "read_pool",
    "record",
    "run",
    "select",
    "select_rows",
    "signal",
    "tokenize",
    "train_proxy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 's2l' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), "select" if name == "select_rows" else name)
