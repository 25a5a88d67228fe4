"""Arrays that may be larger than memory: beyond 1 GiB they lie in a nameless file beside the run."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt
from jaxtyping import Shaped

IN_MEMORY = 2**30
"""Bytes; the page cache keeps a mapped file in memory while there is room, so the border costs no time."""


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path | None) -> Shaped[np.ndarray, ...]:
    """An array to be filled: in memory, or mapped from a file in `folder` that vanishes with it.

    Raises OSError where the disk has no room for it.
    """
    if folder is None or int(np.prod(shape)) * np.dtype(dtype).itemsize <= IN_MEMORY:
        return np.empty(shape, dtype)
    with TemporaryFile(dir=folder) as file:
        _reserve(file.fileno(), int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype, mode="r+", shape=shape)


def _reserve(descriptor: int, size: int) -> None:
    """Take the room now: a full disk is an error here, but kills the process once the file is mapped."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
