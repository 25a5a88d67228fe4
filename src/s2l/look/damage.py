"""What is damaged or missing in a run's folder, as far as ends of files and records tell; not every byte is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s2l.files import PART, read_json
from s2l.run_folder import RunFolder
from s2l.types import LEFT

RECORDS = ("*.json", "proxy/*.json", "proxy/step-*/*.json", "trajectories/*.json", "subsets/*/manifest.json")
TABLES = ("rows.parquet", "trajectories/step-*/*.parquet", "subsets/*/selection.parquet")
ARROW = ("tokens.arrow",)
WEIGHTS = ("proxy/step-*/*.safetensors",)
KEYS = {"run.json": ("settings", "pool"), "manifest.json": ("pool", "proxy", "settings"), "plan.json": ("saves",)}
"""What the records that others rest on hold at the least."""
LENGTH = 8
"""Bytes of the number before a safetensors file's header."""


def damage(path: Path) -> list[str]:
    """Files that cannot be what s2l wrote, by their path in the folder."""
    checks: list[tuple[Sequence[str], Callable[[Path], object]]] = [
        (RECORDS, _check_record),
        (TABLES, pq.read_metadata),
        (ARROW, _open_arrow),
        (WEIGHTS, _check_weights),
    ]
    found = []
    for patterns, check in checks:
        for file in sorted(file for pattern in patterns for file in path.glob(pattern)):
            if not _is_part(file, path) and not _passes(check, file):
                found.append(str(file.relative_to(path)))
    return found


def missing(folder: RunFolder, manifest: Mapping[str, Any], shards: Sequence[str]) -> list[str]:
    """What a finished run, with these shards of each checkpoint, should have and has not."""
    checkpoints = manifest["proxy"]["checkpoints"]
    steps = [f"step-{checkpoint['step']:08d}" for checkpoint in checkpoints]
    kept = [
        step for step, told in zip(steps, checkpoints, strict=True) if told.get("weights", True) and LEFT not in told
    ]
    wanted = [folder.rows, folder.tokens, folder.tokenizer, folder.signal]
    wanted += [folder.proxy / step / "model.safetensors" for step in kept]
    wanted += [folder.trajectories / step / shard for step in steps for shard in shards]
    wanted += [folder.path / subset["path"] for subset in manifest.get("subsets", [])]
    return [str(path.relative_to(folder.path)) for path in wanted if not path.exists()]


def parts(path: Path) -> Iterator[Path]:
    """What is half-written: being written now, or left by a process that was killed."""
    for room in ("", "proxy/", "trajectories/", "trajectories/*/", "subsets/"):
        yield from sorted(path.glob(f"{room}*{PART}"))


def _is_part(file: Path, path: Path) -> bool:
    return any(name.endswith(PART) for name in file.relative_to(path).parts)


def _passes(check: Callable[[Path], object], file: Path) -> bool:
    """Whether the file is what it should be, or has gone or been replaced just now."""
    try:
        check(file)
    except FileNotFoundError:
        return True
    except Exception:  # Arrow has many ways to fail on a damaged file
        return False
    return True


def _check_record(file: Path) -> None:
    record = read_json(file)
    if not isinstance(record, dict) or any(key not in record for key in KEYS.get(file.name, ())):
        raise ValueError("another record")


def _open_arrow(file: Path) -> None:
    with pa.memory_map(str(file)) as source:
        pa.ipc.open_file(source).get_batch(0)


def _check_weights(file: Path) -> None:
    """The header's last offset is where the file ends."""
    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(LENGTH), "little")
        tensors = json.loads(stream.read(min(header, file.stat().st_size)))
    ends = [tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"]
    if LENGTH + header + max(ends) != file.stat().st_size:
        raise ValueError("another length")
