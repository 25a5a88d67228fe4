"""Files that exist only when complete: written beside their place, flushed to disk, renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from s2l.errors import MachineError, RunFolderError

PART = ".part"
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Rust (safetensors, tokenizers) and torch.save raise errors of their own, which tell it in their text only.
FULL_DISK_TEXTS = (*(f"(os error {number})" for number in FULL_DISK), "PytorchStreamWriter", "inline_container.cc")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or folder to; it takes its place when the block ends well.

    A folder that stands there is replaced. Where the block fails, what it wrote is removed and `path` is as it was.
    A full disk is one clear line (MachineError).
    """
    part = path.with_name(path.name + PART)
    remove(part)
    try:
        with full_disk_is_one_line(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            _flush(part)
            if path.is_dir():
                remove(path)
            part.replace(path)
            _flush_folder(path.parent)
    except Exception:
        remove(part)
        raise


@contextmanager
def full_disk_is_one_line(path: Path) -> Iterator[None]:
    """Whatever a full disk raises while the block writes to `path` becomes a MachineError."""
    try:
        yield
    except Exception as error:
        if not _is_full_disk(error):
            raise
        raise MachineError(
            f"{path}: no room on the disk; nothing is lost: free some and run the same command again"
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; a lone surrogate (an odd file name) becomes its escape."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with written_whole(path) as part:
        part.write_bytes(text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """The JSON value in `path`."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_record(path: Path) -> Any:
    """The JSON value that s2l itself wrote to `path`; a damaged file is a RunFolderError."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        raise RunFolderError(f"{path}: damaged or gone; remove it and run the same command again") from None


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes, or of a folder's files and their names, hexadecimal."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = (f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n" for file in files)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file or folder if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_full_disk(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL_DISK
    return any(text in str(error) for text in FULL_DISK_TEXTS)


def _flush(path: Path) -> None:
    if path.is_dir():
        for child in path.rglob("*"):
            if child.is_file():
                _flush(child)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
