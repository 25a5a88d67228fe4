"""Processes of this machine that share items: each pulls the next one when it is free, any of them may die."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from queue import SimpleQueue
from typing import Any, Generic

from s2l.engines import Job, Work
from s2l.errors import MachineError
from s2l.progress import Advance

DEATHS = 2
"""So many processes in a row may an item end, then it ends the run."""
# A fresh interpreter, as multiprocessing's `spawn`, but one that does not run the user's own script again.
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from s2l.engines.local import serve; serve(int(sys.argv[2]))"
)


def run(job: Job[Work], items: Sequence[Work], processes: int, advance: Advance) -> Iterator[Work]:
    """Do every item in one of `processes` processes; yields each as it is done.

    What a dead process had in hand is done again by a new one; an item that ends two in a row is a MachineError. An
    error in a process is raised here. The processes end with the iterator, and with this process whatever ends it.
    """
    pool = _Pool(job, list(items), min(processes, len(items)), advance)
    try:
        for seat in range(pool.seats):
            pool.start(seat)
        while pool.children:
            for child in pool.ready():
                yield from pool.hear(child)
    finally:
        for child in pool.children:
            child.process.kill()
        for child in pool.children:
            child.process.wait()
            child.connection.close()


@dataclass
class _Child(Generic[Work]):
    """One process, and the items it was given and has not finished, each with the units it told of."""

    seat: int
    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    in_hand: dict[Work, int] = field(default_factory=dict)
    group: Hashable = None

    def give(self, message: object) -> None:
        """Send it; whether the process lives shows when it is next heard."""
        with suppress(OSError):
            self.connection.send(message)


@dataclass
class _Pool(Generic[Work]):
    """The processes, the items that wait for one, and how many processes each item has ended."""

    job: Job[Work]
    waiting: list[Work]
    seats: int
    advance: Advance
    children: list[_Child[Work]] = field(default_factory=list)
    deaths: Counter[Work] = field(default_factory=Counter)

    def start(self, seat: int) -> None:
        """Start a process with the job and its first item."""
        ours, theirs = Pipe()
        with theirs:
            words = [
                sys.executable,
                "-P",
                "-c",
                START,
                json.dumps([str(path) for path in sys.path]),
                str(theirs.fileno()),
            ]
            # In a process group of its own it is spared the terminal's Ctrl-C, which is the parent's to answer.
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], process_group=0)
        child: _Child[Work] = _Child(seat, process, ours)
        self.children.append(child)
        child.give((self.job, seat, self.seats))
        self.feed(child)

    def feed(self, child: _Child[Work]) -> None:
        """Give it the next item: of the group it is at, else of the one with most items waiting for each process."""
        item = None
        if self.waiting:
            waiting = Counter(item.group for item in self.waiting)
            at_work = Counter(other.group for other in self.children if other is not child)
            if child.group not in waiting:
                child.group = max(waiting, key=lambda group: waiting[group] / (1 + at_work[group]))
            item = next(item for item in self.waiting if item.group == child.group)
            self.waiting.remove(item)
            child.in_hand[item] = 0
        else:
            child.group = None
        child.give(item)

    def ready(self) -> list[_Child[Work]]:
        """The processes that have something to say, or have died; waits for one."""
        spoken = wait([child.connection for child in self.children])
        return [child for child in self.children if child.connection in spoken]

    def hear(self, child: _Child[Work]) -> Iterator[Work]:
        """Answer one message; yields the item that it says is done."""
        try:
            kind, value = child.connection.recv()
        except (EOFError, OSError):
            self.bury(child)
            return
        if kind == "units":
            *_, last = child.in_hand
            child.in_hand[last] += value
            self.advance(value)
        elif kind == "free":
            self.feed(child)
        elif kind == "done":
            del child.in_hand[value]
            yield value
        else:
            raise value

    def bury(self, child: _Child[Work]) -> None:
        """See to what a dead process had in hand; one that had nothing left has ended as it should."""
        self.children.remove(child)
        child.connection.close()
        code = child.process.wait()
        if not child.in_hand:
            return
        self.advance(-sum(child.in_hand.values()))
        *_, last = child.in_hand
        self.deaths[last] += 1
        if self.deaths[last] == DEATHS:
            raise MachineError(
                f"{last}: {DEATHS} processes in a row died of it, the last {_cause(code)}; what is done is kept: "
                "free some memory or ask for fewer --processes, and run the same command again"
            )
        self.waiting[:0] = child.in_hand
        self.start(child.seat)


def serve(descriptor: int) -> None:
    """Body of a process: do items until there are none; ends at once when the other end of the connection does."""
    os.set_inheritable(descriptor, False)
    connection: Connection[Any, Any] = Connection(descriptor)
    inbox: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()

    def tell(kind: str, value: object = None) -> None:
        try:
            connection.send((kind, value))
        except ConnectionError:
            os._exit(1)

    def items() -> Iterator[Any]:
        while (item := pickle.loads(inbox.get())) is not None:
            yield item
            tell("free")

    job, seat, seats = pickle.loads(inbox.get())
    try:
        for item in job.work(seat, seats, items(), lambda units: tell("units", units)):
            tell("done", item)
    except Exception as error:
        error.add_note(traceback.format_exc())
        tell("failed", _that_travels(error))


def _that_travels(error: Exception) -> Exception:
    """The error, or its text where it does not survive the way to the parent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _listen(connection: Connection[Any, Any], inbox: SimpleQueue[bytes]) -> None:
    while True:
        try:
            inbox.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


def _cause(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
