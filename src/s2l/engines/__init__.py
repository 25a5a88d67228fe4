"""Where work items run. An engine gets a job and its items, and yields each item when it is done."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

from s2l.progress import Advance


@runtime_checkable
class Item(Protocol):
    """A piece of work that one worker does alone; a value: hashable and picklable. Its text names it for a person."""

    @property
    def group(self) -> Hashable:
        """Items of one group cost a worker less one after another."""
        ...


Work = TypeVar("Work", bound=Item)


@runtime_checkable
class Job(Protocol[Work]):
    """What a worker must know to do items: paths and simple values, picklable."""

    def work(self, seat: int, seats: int, items: Iterator[Work], advance: Advance) -> Iterator[Work]:
        """Do the items as they come, as worker `seat` of `seats`; yield each, in order, once it is safe on disk.

        `advance` is told the units done. The next item may be drawn before the last one is yielded.
        """
        ...
