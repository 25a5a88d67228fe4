"""Jobs without a model, for processes to do: each item is a file written, or a mishap."""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from s2l.errors import NumericsError


class UntravelledError(Exception):
    """Pickles, but does not unpickle, as errors of hub clients."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


@dataclass(frozen=True)
class Toy:
    """An item of a group, with what befalls the process that does it."""

    name: str
    group: int = 0
    mishap: str = ""

    def __str__(self) -> str:
        return f"toy {self.name}"


@dataclass(frozen=True)
class ToyJob:
    """Writes each item's file into `folder`, with a line for every process that did it. One is always pending.

    Every process holds a lock on a file `alive-…` as long as it lives.
    """

    folder: Path
    seconds: float = 0.0

    def work(self, seat: int, seats: int, items: Iterator[Toy], advance: Callable[[int], None]) -> Iterator[Toy]:
        alive = (self.folder / f"alive-{os.getpid()}").open("w")
        fcntl.flock(alive, fcntl.LOCK_EX)
        pending = None
        for item in items:
            advance(10)
            self.befall(item)
            time.sleep(self.seconds)
            with (self.folder / item.name).open("a") as file:
                file.write(f"{seat} {seats} {os.getpid()}\n")
            if pending:
                yield pending
            pending = item
        if pending:
            yield pending

    def befall(self, item: Toy) -> None:
        """Whatever the item has in store, `once` only for the first process that tries it."""
        kind, _, often = item.mishap.partition(" ")
        if often == "once":
            with suppress(FileExistsError):
                (self.folder / f"{item.name}-befell").touch(exist_ok=False)
                often = ""
        if often:
            return
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "exit":
            os._exit(3)
        if kind == "nan":
            raise NumericsError(f"{item}: not a number")
        if kind == "untravelled":
            raise UntravelledError("no", "way")
        if kind == "bug":
            raise KeyError("a bug")
        if kind == "descriptors":
            inodes = [os.fstat(n).st_ino for n in range(256) if _is_open(n)]
            (self.folder / "inodes").write_text(" ".join(map(str, inodes)))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def living(folder: Path) -> int:
    """How many processes of jobs in `folder` live: those that hold the lock on their file."""
    count = 0
    for path in folder.glob("alive-*"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                count += 1
    return count
