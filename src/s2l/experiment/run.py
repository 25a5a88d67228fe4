"""The experiment, top to bottom: split → pre-train → for every cell draw, train, evaluate → tables and a verdict.

OUT/recipe.json says what the folder is for; OUT/cells/…/result.json is there if and only if the cell is done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s2l.data.hub import HUB_ID
from s2l.data.url import is_url
from s2l.errors import NumericsError, SettingsError, printable
from s2l.experiment.bench import CELL, Bench
from s2l.experiment.claim import check_claim, claimed
from s2l.experiment.places import RESULT
from s2l.experiment.recipe import ExperimentSettings
from s2l.experiment.report import MARKDOWN, write_report
from s2l.experiment.side_by_side import in_turn, side_by_side
from s2l.experiment.stages import Stages
from s2l.progress import SILENT, Progress
from s2l.target.evaluate import need_packages
from s2l.target.model import need_package

__all__ = ["CELL", "MARKDOWN", "RESULT", "experiment", "reported"]


def experiment(
    settings: ExperimentSettings,
    out: Path,
    stages: Stages | None = None,
    progress: Progress = SILENT,
    *,
    processes: int = 1,
) -> dict[str, Any]:
    """Every cell that is not done yet, then the report; returns what is in OUT/experiment.json.

    Stopped at any moment, the same call goes on: a cell, a draw, a proxy and a pre-trained model are each made once. A
    cell whose loss is not finite is left out; a NumericsError names it when all others are done and reported.
    processes: cells that are worked on at a time, each by a process with its part of the cores, or with a GPU.
    """
    if stages is None:
        from s2l.experiment.own_stages import OWN

        require(settings)
        stages = OWN
    out = out.resolve()
    with claimed(settings, out):
        bench = Bench(settings, out, stages, progress)
        bench.prepare()
        bench.judge_starts()
        for cell in bench.cells:
            bench.clear(cell)
        waiting = [cell for cell in bench.cells if not bench.is_done(cell)]
        done = side_by_side(bench, waiting, processes) if processes > 1 else in_turn(bench, waiting)
        for cell, failure in done:
            if failure is not None:
                bench.fail(cell, failure)
                progress.note(f"{cell.folder} failed, and is left out: {failure}")
        failed = bench.failures()
        found = write_report(settings, out, bench.results(), bench.starts(), bench.split, failed)
    if failed:
        first, why = next(iter(failed.items()))
        raise NumericsError(f"{len(failed)} cells failed, {MARKDOWN} is without them; {first}: {why}")
    return found


def reported(settings: ExperimentSettings, out: Path) -> dict[str, Any]:
    """The report of the cells that are done, as far as they go; also while they are being made.

    RunFolderError where there is no experiment, or one by another recipe.
    """
    out = out.resolve()
    check_claim(settings, out)
    bench = Bench(settings, out, None, SILENT)
    return write_report(settings, out, bench.results(), bench.starts(), bench.split, bench.failures())


def require(settings: ExperimentSettings) -> None:
    """Raise SettingsError, before hours of work, for packages, test sets or held-out rows that are not there."""
    need_package("trl")
    need_packages(settings.evaluate)
    settings.evaluate.data_of_tasks()
    for name in (*settings.heldout, *filter(None, [settings.evaluate.summaries, settings.evaluate.bertscore])):
        if not is_url(name) and not Path(name).exists() and HUB_ID.fullmatch(name) is None:
            raise SettingsError(f"{printable(name)}: no such file or folder")
