"""Which checkpoints a training left: folders and hub revisions, in order of step; gaps and duplicates are named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from s2l.errors import SettingsError, printable, shown
from s2l.files import read_json
from s2l.progress import Progress
from s2l.recording.foreign import digest, resolved, shape_of
from s2l.recording.refused import refusal
from s2l.target.model import ADAPTER

STEP = re.compile(r"(\d+)$")
STATE = "trainer_state.json"
TEMPORARY = "tmp-"
MOST_NAMED = 8


@dataclass(frozen=True)
class Left:
    """A checkpoint that another trainer left. model: its folder, or its name on the hub, there at `revision`."""

    step: int
    folder: Path
    model: str
    revision: str | None = None

    @property
    def name(self) -> str:
        """For a person."""
        return printable(self.model if self.revision is None else f"{self.model}@{self.folder.name}")


def find_checkpoints(named: Sequence[str], progress: Progress) -> list[Left]:
    """The checkpoints that are named, in order of step, one for each.

    named: folders of a training, of one checkpoint (`FOLDER@STEP` where it does not tell), hub ids with a revision.
    SettingsError for what cannot be read, with the command that converts it; for two of one step; for other models.
    """
    found = sorted((left for text in named for left in _named(text, progress)), key=lambda left: left.step)
    for left in found:
        _check(left)
    found = _without_duplicates(found, progress)
    first = shape_of(found[0].folder)
    for left in found[1:]:
        other = shape_of(left.folder)
        if differing := [key for key in first if first[key] != other[key]]:
            key = differing[0]
            values = f"{key} is {shown(other[key])}, not {shown(first[key])}"
            raise SettingsError(f"{left.name}: another model than {found[0].name}: {values}")
    steps = [left.step for left in found]
    if missing := gaps(steps):
        some = ", ".join(map(str, missing[:MOST_NAMED])) + (", …" if len(missing) > MOST_NAMED else "")
        progress.note(f"no checkpoint at step {some}: trajectories have gaps there")
    return found


def gaps(steps: Sequence[int]) -> list[int]:
    """Steps that are missing from a regular series; where most distances differ there is none, and the last is free."""
    distances = Counter(later - earlier for earlier, later in pairwise(steps))
    if not distances:
        return []
    every, times = max(distances.items(), key=lambda item: (item[1], -item[0]))
    if times < 2 or any(step % every for step in steps[:-1]):
        return []
    return sorted(set(range(every, steps[-1], every)) - set(steps))


def _named(text: str, progress: Progress) -> list[Left]:
    if Path(text).is_dir():
        return _in_folder(Path(text), progress)
    if "," in text:
        return [left for part in text.split(",") if part.strip() for left in _named(part.strip(), progress)]
    name, at, revision = text.rpartition("@")
    if not at:
        raise SettingsError(
            f"--checkpoints {shown(text)}: no such folder; of a hub id name the revision: NAME@step1000"
        )
    if Path(name).is_dir():
        if not revision.isdecimal():
            raise SettingsError(f"--checkpoints {shown(text)}: behind @ stands the folder's step, a whole number")
        return [_of_folder(Path(name), int(revision))]
    step = STEP.search(revision)
    if step is None:
        raise SettingsError(f"--checkpoints {shown(text)}: the revision does not end in its step, as step1000 does")
    folder = resolved(name, revision)
    return [Left(int(step[1]), folder, name, folder.name)]


def _in_folder(folder: Path, progress: Progress) -> list[Left]:
    """The folder's checkpoints, or the one that it is."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(TEMPORARY)]
    holding = [path for path in inside if _holds_model(path)]
    stepped = [(step, path) for path in holding if (step := _step(path)) is not None]
    if not stepped:
        if not _holds_model(folder):
            raise SettingsError(
                f"--checkpoints {printable(str(folder))}: no checkpoint in it; each is a folder whose name ends in its "
                "step (checkpoint-500) and which holds *.safetensors"
            )
        step = _step(folder)
        if step is None:
            raise SettingsError(f"{printable(str(folder))}: of which step? write FOLDER@STEP")
        return [_of_folder(folder, step)]
    others = [path.name for path in holding if _step(path) is None]
    others += ["the folder itself"] if _holds_model(folder) else []
    if others:
        left_out = ", ".join(printable(name) for name in others)
        progress.note(f"{printable(str(folder))}: no step is known of {left_out}: left out; name it as FOLDER@STEP")
    return [_of_folder(path, step) for step, path in stepped]


def _of_folder(folder: Path, step: int) -> Left:
    return Left(step, folder.resolve(), str(folder.resolve()))


def _holds_model(folder: Path) -> bool:
    return (folder / ADAPTER).is_file() or any(folder.glob("*.safetensors")) or refusal(folder) is not None


def _step(folder: Path) -> int | None:
    """That Trainer's own record tells, or the end of the folder's name."""
    try:
        return int(read_json(folder / STATE)["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        found = STEP.search(folder.name)
        return int(found[1]) if found else None


def _check(left: Left) -> None:
    """Raise SettingsError where its weights are not in safetensors."""
    if any(left.folder.glob("*.safetensors")):
        return
    if left.revision is not None:
        made = f"M.from_pretrained({left.model!r}, revision={left.folder.name!r})"
        raise SettingsError(
            f"{left.name}: no safetensors on the hub; convert a revision you trust: "
            f'python -c "from transformers import AutoModelForCausalLM as M; {made}'
            f".save_pretrained('checkpoint-{left.step}')\""
        )
    raise refusal(left.folder) or SettingsError(f"{left.name}: no weights in safetensors")


def _without_duplicates(found: Iterable[Left], progress: Progress) -> list[Left]:
    by_step: dict[int, Left] = {}
    weights: dict[str, int] = {}
    for left in found:
        other, sha256 = by_step.setdefault(left.step, left), digest(left.folder)
        if other is not left and digest(other.folder) != sha256:
            raise SettingsError(f"two checkpoints of step {left.step}: {other.name} and {left.name}; name one of them")
        if other is not left:
            progress.note(f"step {left.step} is there twice: {left.name} is left out, {other.name} holds the same")
        elif (same := weights.setdefault(sha256, left.step)) != left.step:
            progress.note(f"steps {same} and {left.step} hold the same weights")
    return list(by_step.values())
