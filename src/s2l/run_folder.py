"""The run folder: one run's files, one process at a time, refused for other inputs than its own.

RUN/run.json says what the folder is for and is written first; RUN/manifest.json what came out, and is written last.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from s2l import __version__
from s2l.errors import BusyError, RunFolderError, shown
from s2l.files import PART, read_json, remove, write_json
from s2l.flags import flag_of
from s2l.types import Pool

LOCK = ".lock"
RUN = "run.json"
MANIFEST = "manifest.json"
SECONDS = "seconds.json"

MAC = sys.platform == "darwin"
FLOCK = "qqihh" if MAC else "hhqqi4x"
"""C's struct flock: start, length, process, kind, from where; on Linux kind and from where come first."""

_held: set[Path] = set()


class RunFolder:
    """A folder that this process holds; the properties name its files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def rows(self) -> Path:
        """Every row of the pool."""
        return self.path / "rows.parquet"

    @property
    def tokenizer(self) -> Path:
        """The proxy's tokenizer."""
        return self.path / "tokenizer"

    @property
    def tokens(self) -> Path:
        """The pool's tokens."""
        return self.path / "tokens.arrow"

    @property
    def proxy(self) -> Path:
        """The proxy's plan and checkpoints."""
        return self.path / "proxy"

    @property
    def trajectories(self) -> Path:
        """The recorded sums."""
        return self.path / "trajectories"

    @property
    def representations(self) -> Path:
        """What methods asked to be recorded beside the sums."""
        return self.path / "representations"

    @property
    def subsets(self) -> Path:
        """The chosen subsets, one folder each."""
        return self.path / "subsets"

    @property
    def manifest(self) -> Path:
        """What came out of the run; there if and only if the run is complete."""
        return self.path / MANIFEST

    @property
    def signal(self) -> Path:
        """Whether the proxy carried signal."""
        return self.path / "signal.json"

    def claim(self, settings: Mapping[str, Any], pool: Pool, keep: frozenset[bytes] = frozenset()) -> None:
        """Say what the folder is for, or check that it is for just that; RunFolderError names what differs.

        As long as the first stage has made nothing, the folder may still be claimed for something else.
        """
        path = self.path / RUN
        claimed: dict[str, Any] = {
            "s2l": __version__,
            "settings": dict(settings),
            "pool": {
                "digest": pool.digest,
                "rows": len(pool),
                "container": pool.container,
                "format": pool.format,
                "notices": list(pool.notices),
            },
            "kept_on_request": sorted(id_.decode() for id_ in keep),
            "directory": str(Path.cwd()),
        }
        if not path.is_file():
            write_json(path, claimed)
            return
        before = self.claimed()
        differing = list(_differences(before["settings"], claimed["settings"]))
        if before["kept_on_request"] != claimed["kept_on_request"]:
            differing.append("the ids in the file of --keep")
        changed = before["pool"]["digest"] != pool.digest
        if (differing or changed) and not self.tokens.is_file():
            remove(self.tokenizer)
            write_json(path, claimed)
            return
        if changed and before["settings"].get("added"):
            raise RunFolderError(
                f"{self.path}: rows have been added to it; to draw from all of them: s2l select; for another run, "
                "use another --out"
            )
        if changed:
            raise RunFolderError(f"{self.path}: made from other rows: the pool has changed since; use another --out")
        if differing:
            raise RunFolderError(
                f"{self.path}: made with other settings: {'; '.join(differing)}; use another --out"
                " (to draw again from its trajectories: s2l select)"
            )

    def claimed(self) -> dict[str, Any]:
        """What `run.json` says; RunFolderError where the folder is no run."""
        try:
            claimed: dict[str, Any] = read_json(self.path / RUN)
            _ = claimed["settings"], claimed["kept_on_request"], claimed["pool"]["digest"]
        except FileNotFoundError:
            raise RunFolderError(f"{self.path}: no run of s2l (no {RUN} in it)") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise RunFolderError(f"{self.path / RUN}: damaged; use another --out") from None
        return claimed

    @contextmanager
    def timed(self, stage: str) -> Iterator[Callable[[], None]]:
        """Add the seconds of the block to the stage's, over all attempts at the run.

        Calling what it gives adds those so far: a kill loses only what came after.
        """
        start = time.monotonic()

        def so_far() -> None:
            nonlocal start
            now = time.monotonic()
            self.spent(stage, now - start)
            start = now

        try:
            yield so_far
        finally:
            so_far()

    def spent(self, stage: str, seconds: float) -> None:
        """Add `seconds` to the stage's."""
        before = self.seconds()
        write_json(self.path / SECONDS, before | {stage: round(before.get(stage, 0.0) + seconds, 3)})

    def seconds(self) -> dict[str, float]:
        """Seconds per stage so far."""
        try:
            seconds: dict[str, float] = read_json(self.path / SECONDS)
        except (OSError, ValueError):
            return {}
        return seconds


@contextmanager
def hold(path: Path, *, must_exist: bool = False) -> Iterator[RunFolder]:
    """Hold `path` for this process alone, making it if need be; what was left half-written is removed.

    The lock is the process's own (POSIX): it ends with it and no child inherits it. A folder in use is a BusyError, one
    that holds other files a RunFolderError.
    """
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path}: a file, not a folder; use another --out")
    if must_exist and not (path / RUN).is_file():
        raise RunFolderError(f"{path}: no run of s2l (no {RUN} in it)")
    path.mkdir(parents=True, exist_ok=True)
    foreign = [p.name for p in path.iterdir() if p.name not in {LOCK, RUN + PART}]
    if foreign and not (path / RUN).is_file():
        raise RunFolderError(f"{path}: holds other files, such as {shown(sorted(foreign)[0])}; use another --out")
    with locked(path):
        for room in ("", "proxy/", "trajectories/", "trajectories/*/", "subsets/", "representations/**/"):
            for part in list(path.glob(f"{room}*{PART}")):
                remove(part)
        yield RunFolder(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes, and other calls in this one, out of a folder; BusyError where one is in it."""
    busy = BusyError(f"{path}: another process is at work in this folder; wait for it, or use another --out")
    real = path.resolve()
    if real in _held:
        raise busy
    with (path / LOCK).open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise busy from None
        _held.add(real)
        try:
            yield
        finally:
            _held.discard(real)


def holder_of(path: Path) -> int | None:
    """The number of the process that holds the folder; None where nobody does.

    0 for one that has no number here: it is on another machine, or in another container.
    """
    if path.resolve() in _held:  # to open and close the file would give our own lock away
        return os.getpid()
    whole_file = (0, 0, 0)
    kind = (fcntl.F_WRLCK, os.SEEK_SET)
    asked = struct.pack(FLOCK, *(whole_file + kind if MAC else kind + whole_file))
    try:
        with (path / LOCK).open("rb") as file:
            answer = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return None
    found, process = (answer[3], answer[2]) if MAC else (answer[0], answer[4])
    return None if found == fcntl.F_UNLCK else max(process, 0)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        else:
            yield f"{flag_of(prefix + name)} was {_told(old)}, now {_told(new)}"


def _told(value: Any) -> str:
    return shown(",".join(map(str, value)) if isinstance(value, list) else str(value))
