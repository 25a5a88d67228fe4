"""How far a stage is: what the stages call, and the silent default. `cli` draws it for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

Advance = Callable[[int], None]


@runtime_checkable
class Progress(Protocol):
    """Where stages report to. Lines and bars go to stderr, never to stdout."""

    def stage(self, name: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        """Enter a stage of `total` units ("tokens", "rows"); call what it yields with each step's units."""
        ...

    def note(self, line: str) -> None:
        """Tell the user one line."""
        ...


class Silent:
    """Reports nothing: the default of a library."""

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:  # noqa: ARG002
        """Enter a stage and say nothing."""
        yield lambda _units: None

    def note(self, line: str) -> None:
        """Say nothing."""


SILENT = Silent()
