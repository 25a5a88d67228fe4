"""Watching one call of a stage through the progress that it reports: how much was done when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from s2l.progress import Advance


@dataclass
class Watch:
    """A Progress that shows nothing and notes every report; `with watch:` stands around the call.

    seconds: when each report came, since the call began. units: what each said was done. total: seconds of the call.
    """

    seconds: list[float] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    total: float = 0.0
    _begun: float = 0.0

    def __enter__(self) -> Watch:
        self._begun = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.total = time.perf_counter() - self._begun

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        """Note every report of the stage."""
        del name, total, unit

        def advance(units: int) -> None:
            self.seconds.append(time.perf_counter() - self._begun)
            self.units.append(units)

        yield advance

    def note(self, line: str) -> None:
        """Say nothing."""
