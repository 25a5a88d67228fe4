"""How far a run is, without its lock: finished, at work, stopped or damaged; nothing in it is opened but to be read."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2l.config import WITHOUT_WEIGHTS
from s2l.data.rows_file import load_rows
from s2l.errors import RunFolderError, S2LError, printable
from s2l.files import PART, read_json
from s2l.flags import command, validated
from s2l.look.damage import damage, missing, parts
from s2l.run_folder import MANIFEST, RUN, SECONDS, RunFolder, holder_of
from s2l.selection.budget import parse_budget
from s2l.trajectories.store import SHARD_ROWS, shard_name, step_folder

PLAN = "plan.json"
CHECKPOINT = "checkpoint.json"
IN_MEMORY = "memory"


@dataclass(frozen=True)
class Stage:
    """A stage of the run, named as its seconds are kept.

    done: the files that show what is done. of: how many there will be, None while that is not known.
    """

    name: str
    done: Sequence[Path]
    of: int | None = 1
    unit: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing of it is left."""
        return self.of is not None and len(self.done) >= self.of


def status(path: Path) -> dict[str, Any]:
    """What stands in the folder, JSON-able; works while a process is at it, and after it was killed or damaged.

    state: finished, at work, stopped or damaged. process: who holds it, 0 if that cannot be told. seconds: over all
    attempts, that of the stage at work included. Raises RunFolderError where there is no run.
    """
    folder, process = RunFolder(path), holder_of(path)
    damaged = damage(path)
    if not (path / RUN).is_file() and process is None:
        raise RunFolderError(f"{path}: no run of s2l (no {RUN} in it)")
    claimed, manifest, plan = (
        {} if name in damaged else _record(path / name) for name in (RUN, MANIFEST, f"{folder.proxy.name}/{PLAN}")
    )
    stages = _stages(folder, claimed, plan, bool(manifest))
    now = next((stage for stage in stages if not stage.finished), None) if process is not None else None
    seconds, since = _record(path / SECONDS), _changed(path / SECONDS)
    so_far = time.time() - since if now is not None and since is not None else None
    gone = missing(folder, manifest, _shards(folder) or []) if manifest and not damaged else []
    return {
        "run": str(path),
        "state": _state(bool(damaged or gone), bool(manifest), process is not None),
        "process": process,
        "stages": [
            {
                "name": stage.name,
                "state": "done" if stage.finished else "at work" if stage is now else "left",
                "done": len(stage.done),
                "of": stage.of,
                "unit": stage.unit,
                "seconds": seconds.get(stage.name),
            }
            for stage in stages
        ],
        "seconds": sum(seconds.values()) + (so_far or 0.0),
        "seconds_in_stage": so_far,
        "seconds_left_in_stage": None if now is None or since is None else _seconds_left(now, since),
        "half_written": [str(part.relative_to(path)) for part in parts(path)],
        "damaged": damaged,
        "missing": gone,
        "subsets": [found.parent.name for found in _subsets(folder)],
        "directory": claimed.get("directory"),
        "command": None if manifest else _command(claimed, path),
    }


def _state(damaged: bool, finished: bool, held: bool) -> str:
    return "damaged" if damaged else "finished" if finished else "at work" if held else "stopped"


def _stages(folder: RunFolder, claimed: Mapping[str, Any], plan: Mapping[str, Any], finished: bool) -> list[Stage]:
    """Every stage of the run in order, by what stands in the folder."""
    settings, shards = claimed.get("settings", {}), _shards(folder)
    steps = plan.get("saves", [])
    steps = [0, *steps] if steps and settings.get("proxy", {}).get("initial_checkpoint") else steps
    saved = [folder.proxy / f"step-{step:08d}" / CHECKPOINT for step in steps]
    recorded = [path for step in steps for path in sorted(step_folder(folder.trajectories, step).glob("*.parquet"))]
    subsets = _subsets(folder)
    of = len(subsets) if finished else _asked(settings.get("select", {}))
    tokens = [path for path in (folder.tokens, folder.rows) if path.is_file()]
    return [
        Stage("read", [folder.path / RUN] if claimed else []),
        Stage("tokenize", tokens, 2),
        Stage("train the proxy", [path for path in saved if path.is_file()], len(steps) or None, "checkpoints"),
        Stage("record trajectories", recorded, len(steps) * len(shards) if shards and steps else None, "shards"),
        Stage("signal", [folder.signal] if folder.signal.is_file() else []),
        Stage("cluster and draw", subsets[:1]),
        Stage("export", subsets, of, "subsets"),
    ]


def _subsets(folder: RunFolder) -> list[Path]:
    """Manifests of the subsets that are there, by name."""
    found = sorted(folder.subsets.glob(f"*/{MANIFEST}"))
    return [path for path in found if not path.parent.name.endswith(PART)]


def _asked(select: Mapping[str, Any]) -> int | None:
    """How many subsets the run was asked for; None where that cannot be told."""
    try:
        budgets = {parse_budget(budget) for budget in select["budgets"]}
        return len(budgets) * (1 + bool(select["with_random"] and select["method"] != "random"))
    except (S2LError, KeyError, TypeError):
        return None


def _shards(folder: RunFolder) -> list[str] | None:
    """Files of a checkpoint's sums, by the rows that can be chosen; None where they are not known yet."""
    try:
        rows, _ = load_rows(folder.rows)
    except RunFolderError:
        return None
    sizes = np.bincount(rows.addition_N[~rows.excluded_N], minlength=1).tolist()
    return [shard_name(k, addition) for addition, n in enumerate(sizes) for k in range(-(-n // SHARD_ROWS))]


def _seconds_left(stage: Stage, since: float) -> float | None:
    """Of the stage at work, at the pace of what it has done since it began or went on; None where that is nothing."""
    changed = [at for path in stage.done if (at := _changed(path)) is not None and at > since]
    if not changed or not stage.of:
        return None
    latest = max(changed)
    pace = (latest - since) / len(changed)
    return max(0.0, pace * (stage.of - len(stage.done)) - (time.time() - latest))


def _changed(path: Path) -> float | None:
    """When the file was last written, in seconds since the epoch."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _record(path: Path) -> dict[str, Any]:
    """The record, empty where it is not there or damaged."""
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _command(claimed: Mapping[str, Any], path: Path) -> str | None:
    """What goes on with the run, on one line; None where that cannot be told, or a training of one's own records it."""
    try:
        settings = validated(claimed["settings"])
        if claimed["pool"]["container"] == IN_MEMORY or settings.proxy.model in WITHOUT_WEIGHTS:
            return None
        return printable(command(settings, str(path)))
    except (S2LError, KeyError, TypeError):
        return None
