"""Which process holds a run's folder, asked without taking the lock."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from pathlib import Path

from s2l import run_folder

MAC = sys.platform == "darwin"
FLOCK = "qqihh" if MAC else "hhqqi4x"
"""C's struct flock: start, length, process, kind, from where; on Linux kind and from where come first."""


def holder_of(path: Path) -> int | None:
    """The number of the process that holds the folder; None where nobody does.

    0 for one that has no number here: it is on another machine, or in another container.
    """
    if path.resolve() in run_folder._held:  # to open and close the file would give our own lock away
        return os.getpid()
    whole_file = (0, 0, 0)
    kind = (fcntl.F_WRLCK, os.SEEK_SET)
    asked = struct.pack(FLOCK, *(whole_file + kind if MAC else kind + whole_file))
    try:
        with (path / run_folder.LOCK).open("rb") as file:
            answer = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return None
    found, process = (answer[3], answer[2]) if MAC else (answer[0], answer[4])
    return None if found == fcntl.F_UNLCK else max(process, 0)
