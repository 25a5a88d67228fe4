"""All that the page of a run shows, gathered into one JSON-able value; the same for the same run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from s2l.config import SEEN
from s2l.data.card import kind
from s2l.errors import printable
from s2l.experiment.outcomes import outcome
from s2l.experiment.places import PROXIES, RESULT
from s2l.files import read_record
from s2l.flags import command, validated
from s2l.progress import SILENT, Progress
from s2l.proxy.stage import START
from s2l.report.caveats import SEEN_LOSSES, added_later
from s2l.report.page.changes import changes
from s2l.report.page.examples import examples
from s2l.report.page.groups import curves, groups_of
from s2l.report.page.plane import plane
from s2l.report.page.seen import Seen, seen
from s2l.report.page.words import name_of, place_of
from s2l.run_folder import RunFolder
from s2l.selection.compare import COMPARISON
from s2l.selection.signal import Signal

VERIFICATION = "verification.json"
NOT_TOLD = frozenset({"budget", "seed", "clusters"})
"""Facts of a subset that stand elsewhere on the page."""


def gather(
    folder: RunFolder, subset: str | None = None, *, with_examples: bool = True, progress: Progress = SILENT
) -> dict[str, Any]:
    """What the page shows of the run in a folder that is held, about one of its subsets (the first if not given).

    with_examples: without them there is no text of any row in it, and the proxy is not needed.
    Raises RunFolderError where losses are not recorded yet or a file is damaged, SettingsError for an unknown subset.
    """
    run = seen(folder, subset)
    groups = groups_of(run)
    return {
        "summary": summary(run),
        "curves": curves(run, groups),
        "plane": plane(run, groups),
        "changes": changes(run, groups),
        "examples": examples(run, groups, progress) if with_examples else None,
        "comparison": _found(folder, COMPARISON),
        "verification": _found(folder, VERIFICATION),
        "experiment": _experiment(folder),
    }


def summary(run: Seen) -> dict[str, Any]:
    """The top of the page: what was read, what was chosen by what, whether to trust it, and how to repeat it."""
    stored = read_record(run.folder.signal)
    strength = Signal(**{**stored, "weak": tuple(stored["weak"])})
    start, settings = read_record(run.folder.proxy / START), validated(run.claimed["settings"])
    manifest = run.manifest or {}
    return {
        "s2l": run.claimed["s2l"],
        "finished": run.manifest is not None,
        "files": [name_of(file) for file in run.rows.files],
        "read": len(run.rows),
        "scorable": len(run),
        "tokens": int(run.lengths_N.sum()),
        "response_tokens": int(run.trajectories.tokens_N.sum()),
        "truncated": manifest["tokens"]["truncated"] if manifest else None,
        "excluded": exclusions(run),
        "exact_repeats": int((run.rows.occurrence_N > 0).sum()),
        "sources": int((np.bincount(run.rows.source_N, minlength=1) > 0).sum()),
        "notices": [printable(notice) for notice in run.claimed["pool"]["notices"]] + _caveats(run),
        "proxy": {
            "model": name_of(start["model"]),
            "parameters": start["parameters"],
            "steps": run.plan.steps,
            "epochs": run.plan.epochs,
            "checkpoints": len(run.trajectories.steps),
        },
        "max_length": settings.tokens.max_length,
        "signal": {"sentence": strength.sentence, **stored},
        "seed": settings.seed,
        "subset": _subset(run),
        "seconds": run.folder.seconds(),
        "peak_memory_bytes": manifest.get("peak_memory_bytes"),
        "command": manifest.get("command") or command(settings, str(run.folder.path)),
    }


def _caveats(run: Seen) -> list[str]:
    """Notices where losses are those seen in training, or rows were added later."""
    found = [SEEN_LOSSES] if run.claimed["settings"]["proxy"]["model"] == SEEN else []
    if added := int((~run.rows.trained_on_N).sum()):
        sentence, loud = added_later(added, len(run.rows))
        found.append(f"Warning: {sentence}" if loud else sentence)
    return found


def exclusions(run: Seen) -> list[dict[str, Any]]:
    """Rows that could not be chosen, by reason, the most frequent first, with the first place of each."""
    found: dict[str, dict[str, Any]] = {}
    for row in np.flatnonzero(run.rows.excluded_N).tolist():
        reason = kind(run.rows.excluded[bytes(run.rows.ids[row])])
        entry = found.setdefault(reason, {"reason": reason, "rows": 0, "first": place_of(run.rows.place(row))})
        entry["rows"] += 1
    return sorted(found.values(), key=lambda entry: -entry["rows"])


def _subset(run: Seen) -> dict[str, Any] | None:
    if run.verdict is None:
        return None
    told: Mapping[str, Any] = run.verdict.manifest
    facts = told["facts"]
    return {
        **{name: told[name] for name in ("name", "method", "budget", "rows", "tokens", "clusters", "selection_sha256")},
        "share": told["rows"] / len(run.rows),
        "token_share": told["tokens"] / max(1, int(run.lengths_N.sum())),
        "seed": facts["seed"],
        "facts": {
            name: value
            for name, value in facts.items()
            if isinstance(value, str | int | float) and name not in NOT_TOLD and value not in {0, "none"}
        },
        "settings": {name: value for name, value in facts["settings"].items() if value is not None},
    }


def _experiment(folder: RunFolder) -> dict[str, Any] | None:
    """Verdict and primary table of the experiment whose proxy's run this is, if it is one's and has a report."""
    path = folder.path.resolve().parent.parent / RESULT
    if folder.path.resolve().parent.name != PROXIES or not path.is_file():
        return None
    found = read_record(path)
    primary = found["primary"]
    name = primary["outcome"]
    of = outcome(name)
    groups = [group for group in found["groups"] if group["target"] == primary["target"] and name in group["outcomes"]]
    return {
        "title": found["settings"]["title"],
        "verdict": [*found["verdict"]["lines"], *found["verdict"]["notes"]],
        "outcome": f"{of.words}{f', {of.unit}' if of.unit else ''} ({'more' if of.better > 0 else 'less'} is better)",
        "groups": [
            {
                **{key: group[key] for key in ("method", "budget", "matching")},
                "seeds": len(group["seeds"]),
                **{
                    key: of.with_interval(group["outcomes"][name].get(key), signed=key != "value")
                    for key in ("value", "to_random", "to_full")
                },
            }
            for group in groups
        ],
    }


def _found(folder: RunFolder, name: str) -> Any:
    path = folder.path / name
    return read_record(path) if path.is_file() else None
