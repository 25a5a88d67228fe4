"""What a cell is made of, as functions that can be swapped: draw, train, evaluate; and the package's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2l.config import PoolSettings, SelectSettings
from s2l.progress import Progress
from s2l.target.evaluate_settings import EvaluateSettings
from s2l.target.settings import TrainSettings


@dataclass(frozen=True)
class Source:
    """Rows to train on: a subset of a run, all rows of a run (no subset), or files."""

    run: Path | None = None
    subset: str | None = None
    files: tuple[str, ...] = ()
    reading: PoolSettings | None = None
    """How files are read."""


Draw = Callable[[Path, SelectSettings, int, Progress], Mapping[str, Any]]
"""(run, what to draw, seed, progress) → the manifests of the subsets, one for each budget."""
Train = Callable[[Source, TrainSettings, Path, Progress], Mapping[str, Any]]
"""(rows, settings, folder, progress) → what the training was; the model is in folder/model. Resumes by itself."""
Evaluate = Callable[[Path, EvaluateSettings, Path, Progress, PoolSettings], Mapping[str, Any]]
"""(model, settings, folder, progress, how rows are read) → the figures."""


@dataclass(frozen=True)
class Stages:
    """The three stages of a cell."""

    draw: Draw
    train: Train
    evaluate: Evaluate
