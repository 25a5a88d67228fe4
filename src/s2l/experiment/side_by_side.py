"""The cells of an experiment, one after another, or several at a time by processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from s2l.engines import local
from s2l.errors import NumericsError
from s2l.experiment.bench import Bench
from s2l.experiment.cells import Cell
from s2l.experiment.recipe import ExperimentSettings
from s2l.experiment.stages import Stages
from s2l.progress import SILENT, Advance

Done = tuple[Cell, str | None]
"""A cell that was worked on, and why it failed, if it did."""


def in_turn(bench: Bench, cells: Sequence[Cell]) -> Iterator[Done]:
    """Work on the cells in their order."""
    with bench.progress.stage("experiment", len(cells), "cells") as advance:
        for cell in cells:
            yield cell, _failure(bench.work, cell)
            advance(1)


def side_by_side(bench: Bench, cells: Sequence[Cell], processes: int) -> Iterator[Done]:
    """Work on the cells by so many processes, any of which may die.

    First the runs, with all that is drawn from them: a run is written by one process at a time. Then the cells in their
    order; they need nothing of one another.
    """
    of_run: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        if not bench.is_chosen(cell):
            of_run.setdefault(bench.run_of(cell), []).append(cell)
    failed: dict[Cell, str] = {}
    if of_run:
        with bench.progress.stage("proxies, and draws from them", len(of_run), "proxies") as advance:
            for part in _parts(bench, [Part(True, tuple(of)) for of in of_run.values()], processes):
                failed |= {cell: failure for cell, failure in part.done if failure is not None}
                advance(1)
        yield from failed.items()
    left = [cell for cell in cells if cell not in failed]
    with bench.progress.stage("experiment", len(left), "cells") as advance:
        for part in _parts(bench, [Part(False, (cell,)) for cell in left], processes):
            yield from part.done
            advance(1)


def _parts(bench: Bench, parts: Sequence[Part], processes: int) -> Iterator[Part]:
    return local.run(Benches(bench.settings, bench.out, bench.stages), parts, processes, lambda _units: None)


@dataclass(frozen=True)
class Part:
    """What one process does at a time: all that is drawn from one run, or one whole cell."""

    only_choose: bool
    cells: tuple[Cell, ...]
    done: tuple[Done, ...] = field(default=(), compare=False)

    @property
    def group(self) -> Hashable:
        """The same for all: parts are done in their order."""
        return None

    def __str__(self) -> str:
        return self.cells[0].folder


@dataclass(frozen=True)
class Benches:
    """The job of several processes: the experiment's folder, in which each has a bench of its own."""

    settings: ExperimentSettings
    out: Path
    stages: Stages

    def work(self, seat: int, seats: int, items: Iterator[Part], advance: Advance) -> Iterator[Part]:  # noqa: ARG002
        """Do the parts on the seat's own GPU, or its part of the CPU's threads."""
        take_seat(seat, seats)
        bench = Bench(self.settings, self.out, self.stages, SILENT)
        for part in items:
            work = bench.choose if part.only_choose else bench.work
            yield replace(part, done=tuple((cell, _failure(work, cell)) for cell in part.cells))


def take_seat(seat: int, seats: int) -> None:
    """Leave the other processes their GPUs and their threads."""
    torch.set_num_threads(max(1, torch.get_num_threads() // seats))
    if count := torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[seat % count]


def _failure(work: Callable[[Cell], object], cell: Cell) -> str | None:
    try:
        work(cell)
    except NumericsError as error:
        return str(error)
    return None
