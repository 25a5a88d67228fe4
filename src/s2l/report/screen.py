"""Progress for a person: bars with an ETA on a terminal, quiet lines elsewhere; always on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from s2l.errors import printable
from s2l.progress import Advance

SLOW = 60.0
"""Without a terminal, a stage says how far it is once in so many seconds."""

PERIODS = ((1, "s"), (60, "min"), (3600, "h"))


class Screen:
    """Draws progress on a terminal; writes a line a stage, and one a minute, elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        """A bar of `total` units, gone when the stage ends, and a line that it was done."""
        start = time.monotonic()
        with self._bar(name, total, unit) if self.console.is_terminal else self._lines(name, total, unit) as advance:
            yield advance
        self.note(f"{name}: done in {duration(time.monotonic() - start)}")

    def note(self, line: str) -> None:
        """One line, whatever it holds."""
        self.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def _bar(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(name, total=total, rate="")

            def advance(units: int) -> None:
                speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
                bar.update(task, advance=units, rate=_rate(speed, unit) if speed else "")

            yield advance

    @contextmanager
    def _lines(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        start = told = time.monotonic()
        done = 0

        def advance(units: int) -> None:
            nonlocal done, told
            done += units
            now = time.monotonic()
            if now - told >= SLOW:
                told = now
                rate = done / (now - start)
                left = f" of {_short(total)}, {duration((total - done) / rate)} left" if total and rate else ""
                self.note(f"{name}: {_short(done)} {unit}{left} ({_rate(rate, unit)})")

        yield advance


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _rate(speed: float, unit: str) -> str:
    """`19.8k tokens/s`; of units that take longer, `7 cells/min` or `3 cells/h`."""
    per = next((per for per in PERIODS if speed * per[0] >= 1), PERIODS[-1])
    return f"{_short(speed * per[0])} {unit}/{per[1]}"


def _short(number: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}"
