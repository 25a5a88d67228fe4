"""Rows of the toy pool in a target's tokens, and settings to train on them."""

from pathlib import Path
from typing import Any

from s2l.config import PoolSettings
from s2l.target.rows import TargetRows, rows_of_file
from s2l.target.settings import TrainSettings

SMALL: dict[str, Any] = {
    "model": "builtin",
    "layers": 1,
    "width": 64,
    "vocabulary": 300,
    "max_length": 64,
    "template": "short",
    "batch_size": 32,
    "epochs": 2,
    "threads": 1,
    "learning_rate": 1e-3,
}


def asked(**changes: Any) -> TrainSettings:
    """Settings of a training that takes a second or less."""
    return TrainSettings.model_validate({**SMALL, **changes})


def rows_for(pool: Path, settings: TrainSettings) -> TargetRows:
    """All rows of a file."""
    return rows_of_file(PoolSettings(paths=(str(pool),)), settings)
