"""RUN/subsets/NAME: one folder per selection, whole or not there, with a manifest of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from s2l.config import SEEN, RunSettings
from s2l.data.card import Origin
from s2l.data.export import export
from s2l.errors import RunFolderError
from s2l.files import read_json, read_record, write_json, written_whole
from s2l.flags import subset_command, validated
from s2l.progress import Progress
from s2l.provenance import provenance
from s2l.proxy.stage import START
from s2l.report.caveats import SEEN_LOSSES
from s2l.run_folder import MANIFEST, RunFolder
from s2l.selection.budget import parse_budget
from s2l.selection.keep import read_keep
from s2l.selection.methods import get
from s2l.selection.signal import Signal
from s2l.types import Recorded, Rows, Selection

if TYPE_CHECKING:
    import datasets

PLAIN = re.compile(r"[\w-]+(\.\w+)*", re.ASCII)


@dataclass(frozen=True)
class SubsetFolder:
    """Where a selection was exported to, and what its manifest says."""

    path: Path
    manifest: dict[str, Any]


def subset_name(selection: Selection, settings: RunSettings, run_seed: int) -> str:
    """`s2l-11pct`, and behind it every setting of the draw that is not its default."""
    options = selection.facts["settings"]
    defaults = get(selection.method).settings().model_dump(mode="json")
    parts = [selection.method, parse_budget(selection.facts["budget"]).slug]
    parts += [f"{name}-{_as_file_name(value)}" for name, value in options.items() if value != defaults[name]]
    parts += [f"balance-{settings.select.balance}"] if settings.select.balance != "none" else []
    if settings.select.keep is not None:
        ids = b"\n".join(sorted(read_keep(settings.select.keep)))
        parts.append(f"keep-{sha256(ids).hexdigest()[:8]}")
    parts += [f"seed-{settings.seed}"] if settings.seed != run_seed else []
    return "-".join(parts)


def _as_file_name(value: object) -> str:
    """The value if it is plain, else a digest of it: paths do not go into the names of folders."""
    text = str(value)
    return text if PLAIN.fullmatch(text) else sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def export_subset(
    selection: Selection,
    rows: Rows,
    recorded: Recorded,
    strength: Signal,
    settings: RunSettings,
    folder: RunFolder,
    progress: Progress,
    dataset: datasets.Dataset | None,
) -> SubsetFolder:
    """Write the subset's folder; one that is there already must hold the same rows (RunFolderError)."""
    name = subset_name(selection, settings, folder.claimed()["settings"]["seed"])
    path = folder.subsets / name
    if path.is_dir():
        return _as_it_is(path, selection)
    twin = {"method": selection.method, "options": {}} if selection.method != settings.select.method else {}
    budget = selection.facts["budget"]
    asked = settings.model_copy(
        update={"select": settings.select.model_copy(update={"budgets": (budget,), "with_random": False, **twin})}
    )
    origin = Origin(
        budget=budget,
        proxy=read_record(folder.proxy / START)["model"],
        seed=settings.seed,
        command=subset_command(validated(folder.claimed()["settings"]), asked, "RUN"),
        signal=strength.sentence,
        caveats=(SEEN_LOSSES,) if settings.proxy.model == SEEN else (),
    )
    with written_whole(path) as part:
        part.mkdir()
        container = folder.claimed()["pool"]["container"]
        subset = export(
            settings.pool,
            container,
            rows,
            selection,
            recorded,
            origin,
            settings.tokens.max_length,
            part,
            dataset,
            progress,
        )
        described = (
            provenance(folder) | _describe(name, selection, rows, recorded, asked) | {"files": list(subset.files)}
        )
        write_json(part / MANIFEST, described)
    return SubsetFolder(path, described)


def _as_it_is(path: Path, selection: Selection) -> SubsetFolder:
    try:
        manifest = read_json(path / MANIFEST)
    except (OSError, ValueError):
        raise RunFolderError(f"{path}: damaged; remove it and run the same command again") from None
    if manifest["selection_sha256"] != selection.sha256:
        raise RunFolderError(f"{path}: holds other rows than were drawn now; remove it to draw again")
    return SubsetFolder(path, manifest)


def _describe(name: str, selection: Selection, rows: Rows, recorded: Recorded, asked: RunSettings) -> dict[str, Any]:
    """What a person or a program wants to know of the subset; `settings` makes it a recipe."""
    place = np.searchsorted(recorded.trajectories.ids, selection.kept_ids)
    sources = np.bincount(rows.source_N[selection.kept_N], minlength=len(rows.sources))
    return {
        "name": name,
        "path": f"subsets/{name}",
        "method": selection.method,
        "budget": selection.facts["budget"],
        "rows": selection.budget,
        "tokens": int(recorded.lengths_N[place].sum()),
        "clusters": selection.facts.get("clusters"),
        "selection_sha256": selection.sha256,
        "rows_by_source": {source: int(n) for source, n in zip(rows.sources, sources, strict=True)},
        "facts": dict(selection.facts),
        "settings": asked.model_dump(mode="json"),
    }
