"""The package's own stages of a cell: `pipeline.draw`, `target.train`, `target.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2l import pipeline
from s2l.config import SelectSettings
from s2l.experiment.stages import Source, Stages
from s2l.progress import Progress
from s2l.target import rows
from s2l.target.evaluate import evaluate
from s2l.target.evaluated import read_as
from s2l.target.settings import TrainSettings
from s2l.target.train import train


def _draw(run: Path, asked: SelectSettings, seed: int, progress: Progress) -> Mapping[str, Any]:
    return pipeline.draw(run, asked, seed, progress)


def _train(source: Source, settings: TrainSettings, out: Path, progress: Progress) -> Mapping[str, Any]:
    return train(_rows(source, settings, progress), settings, out, progress)


def _rows(source: Source, settings: TrainSettings, progress: Progress) -> rows.TargetRows:
    if source.run is None:
        return rows.rows_of_file(read_as(source.files, source.reading), settings, progress)
    if source.subset is None:
        return rows.rows_of_pool(source.run, settings, progress)
    return rows.rows_of(source.run, settings, source.subset, progress)


OWN = Stages(draw=_draw, train=_train, evaluate=evaluate)
