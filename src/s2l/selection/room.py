"""Whether the machine has room for what is about to be allocated: said in one line before, not by a kill after."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

from s2l.errors import MachineError

GIB = 2**30
MACHINE = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")


def require_room(what: str, n_rows: int, bytes_of: Callable[[int], int]) -> None:
    """Raises MachineError, with the rows that would fit, where the bytes for `n_rows` rows are more than is free.

    bytes_of: rows → bytes, growing with the rows. Where the system does not tell what is free, nothing is raised.
    """
    free = free_memory()
    if free is None or bytes_of(n_rows) <= free:
        return
    fitting = max(0, bisect_right(range(n_rows), free, key=bytes_of) - 1)
    raise MachineError(
        f"no room for {what} of {n_rows:,} rows: it takes {bytes_of(n_rows) / GIB:.1f} GiB of memory, "
        f"{free / GIB:.1f} GiB is free; {fitting:,} rows would fit"
    )


def free_memory() -> int | None:
    """Bytes that can still be taken without swapping, of the machine and of its control group (Linux), else None."""
    try:
        available = int(_named(MACHINE)["MemAvailable:"]) * 1024
    except (OSError, KeyError):
        return None
    try:
        limit, taken = int((GROUP / "memory.max").read_text("ascii")), int(_named(GROUP / "memory.stat")["anon"])
    except (OSError, KeyError, ValueError):  # no group of version 2, or one without a limit
        return available
    return min(available, max(0, limit - taken))


def _named(path: Path) -> dict[str, str]:
    """Lines of a name and a number."""
    words = [line.split() for line in path.read_text("ascii").splitlines()]
    return {name: number for name, number, *_ in words}
