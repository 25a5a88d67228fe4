"""Two subsets side by side, of two runs or of one: overlap against chance, sources, settings, rows only in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from s2l import __version__
from s2l.errors import RunFolderError, SettingsError, printable, shown
from s2l.flags import flag_of
from s2l.ids import find_ids, id_order
from s2l.look.opened import Opened, open_run
from s2l.look.verdicts import Verdicts
from s2l.run_folder import RUN
from s2l.selection.keyed import keys

NOT_READ = "not in this pool"


@dataclass(frozen=True)
class Side:
    """One of the two: a run, the subsets of it that are meant, and the one that is looked at closely."""

    run: Opened
    names: tuple[str, ...]

    @cached_property
    def verdicts(self) -> Verdicts:
        """Of the subset that is looked at closely."""
        return self.run.verdicts(self.names[0])

    @property
    def kept(self) -> Int[np.ndarray, " rows"]:
        """The rows in it."""
        return np.flatnonzero(self.verdicts.kept_P)


def diff(one: Path, other: str, *, rows: int = 5, examples: bool = True) -> dict[str, Any]:
    """What differs, JSON-able.

    one, other: a run, or the folder of a subset, RUN/subsets/NAME; other may be the name of a subset of the first run.
    rows: how many to name that are in one subset alone. Raises SettingsError where both are the same subset.
    """
    a, b = _sides(one, other, examples)
    pairs = [_overlap(a.run, a.run.verdicts(first), b.run, b.run.verdicts(second)) for first, second in _pairs(a, b)]
    return {
        "s2l": __version__,
        "a": _side(a),
        "b": _side(b),
        "overlaps": pairs,
        "sources": _sources(a, b),
        "settings": list(_differences(a.verdicts.manifest["settings"], b.verdicts.manifest["settings"])),
        "made": list(_differences(_made(a), _made(b))),
        "only_a": _only(a, b, rows),
        "only_b": _only(b, a, rows),
    }


def _sides(one: Path, other: str, examples: bool) -> tuple[Side, Side]:
    """The two; a name that is no path is that of a subset of the first one's run."""
    a = _side_at(one, examples)
    if not Path(other).exists() and other in a.run.subsets:
        b = Side(a.run, (other,))
    elif not Path(other).exists():
        raise SettingsError(f"{shown(other)}: neither a run nor a subset; there are: {', '.join(a.run.subsets)}")
    else:
        b = _side_at(Path(other), examples)
    if _same_run(a, b) and a.names[0] == b.names[0]:
        others = [name for name in a.run.subsets if name != a.names[0]]
        hint = f"name another: {', '.join(others)}" if others else "draw another: s2l select RUN --budget 5%"
        raise SettingsError(f"twice the same subset, {shown(a.names[0])}; {hint}")
    return a, b


def _side_at(path: Path, examples: bool) -> Side:
    if not (path / RUN).is_file() and (path.parent.parent / RUN).is_file():
        run = open_run(path.parent.parent, examples)
        if path.name not in run.subsets:
            raise RunFolderError(f"{path}: no subset of the run; there are: {', '.join(run.subsets)}")
        return Side(run, (path.name,))
    run = open_run(path, examples)
    return Side(run, run.subsets)


def _pairs(a: Side, b: Side) -> list[tuple[str, str]]:
    """What is looked at closely; then, of two runs, all subsets of the same name."""
    alike = [(name, name) for name in a.names if name in b.names and not _same_run(a, b)]
    return list(dict.fromkeys([(a.names[0], b.names[0]), *alike]))


def _same_run(a: Side, b: Side) -> bool:
    return a.run.folder.path.resolve() == b.run.folder.path.resolve()


def _side(side: Side) -> dict[str, Any]:
    manifest = side.verdicts.manifest
    return {
        "run": str(side.run.folder.path),
        "subset": side.verdicts.name,
        "method": manifest["method"],
        "seed": manifest["facts"]["seed"],
        "rows": len(side.kept),
        "tokens": manifest["tokens"],
        "selection_sha256": manifest["selection_sha256"],
        "read": len(side.run.rows),
        "could_be_chosen": len(side.run.trajectories),
        "pool": side.run.folder.claimed()["pool"]["digest"],
    }


def _overlap(run_a: Opened, a: Verdicts, run_b: Opened, b: Verdicts) -> dict[str, Any]:
    """Rows in both; and how many there would be if each had drawn as many of its rows at random.

    by_chance: c · (a / A) · (b / B) for c rows that both could choose. jaccard: both, of those in either.
    """
    kept_a, kept_b = _kept_ids(run_a, a), _kept_ids(run_b, b)
    both = int(find_ids(kept_a, kept_b)[1].sum())
    in_common = int(find_ids(run_a.trajectories.ids, run_b.trajectories.ids)[1].sum())
    share_a, share_b = len(kept_a) / len(run_a.trajectories), len(kept_b) / len(run_b.trajectories)
    by_chance = in_common * share_a * share_b
    return {
        "a": a.name,
        "b": b.name,
        "rows_a": len(kept_a),
        "rows_b": len(kept_b),
        "in_common": in_common,
        "both": both,
        "by_chance": by_chance,
        "jaccard": both / (len(kept_a) + len(kept_b) - both),
        "jaccard_by_chance": by_chance / (len(kept_a) + len(kept_b) - by_chance),
    }


def _kept_ids(run: Opened, verdicts: Verdicts) -> Shaped[np.ndarray, " n"]:
    ids = run.rows.ids[verdicts.kept_P]
    ordered: Shaped[np.ndarray, " n"] = ids[id_order(ids)]
    return ordered


def _sources(a: Side, b: Side) -> list[dict[str, Any]]:
    """Of each source: rows, share of the subset and of the pool; what moved most comes first."""
    names = dict.fromkeys([*a.run.rows.sources, *b.run.rows.sources])
    counts = [_by_source(side) for side in (a, b)]
    found = []
    for name in names:
        (kept_a, read_a), (kept_b, read_b) = (count.get(name, (0, 0)) for count in counts)
        share_a, share_b = kept_a / len(a.kept), kept_b / len(b.kept)
        found.append(
            {
                "source": printable(name),
                "rows_a": kept_a,
                "rows_b": kept_b,
                "share_a": share_a,
                "share_b": share_b,
                "pool_a": read_a / len(a.run.rows),
                "pool_b": read_b / len(b.run.rows),
                "moved": share_b - share_a,
            }
        )
    return sorted(found, key=lambda source: (-abs(source["moved"]), source["source"]))


def _by_source(side: Side) -> dict[str, tuple[int, int]]:
    rows = side.run.rows
    kept_S = np.bincount(rows.source_N[side.kept], minlength=len(rows.sources)).tolist()
    read_S = np.bincount(rows.source_N, minlength=len(rows.sources)).tolist()
    return dict(zip(rows.sources, zip(kept_S, read_S, strict=True), strict=True))


def _made(side: Side) -> dict[str, Any]:
    """What the subset was made from and on, beside its settings."""
    manifest = side.verdicts.manifest
    plan = {name: value for name, value in manifest["proxy"]["plan"].items() if name != "saves"}
    return {
        "pool": {"digest": manifest["pool"]["digest"]},
        "proxy": manifest["proxy"]["start"],
        "plan": plan,
        "machine": manifest["machine"],
        "versions": manifest["versions"] | {"s2l": manifest["s2l"]},
    }


def _differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> Iterator[dict[str, Any]]:
    """What is not the same in both, by the flag that sets it or by its dotted name."""
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict) and prefix + name != "select.options":
            yield from _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            yield {"what": printable(flag_of(prefix + name)), "a": a, "b": b}


def _only(here: Side, there: Side, most: int) -> dict[str, Any]:
    """Rows of one subset that the other lacks: how many, why by kind, and some of them at random, the same every time.

    not_read: rows that the other's pool has not got; excluded: that it could not choose; not_drawn: that it did not.
    """
    ids = here.run.rows.ids[here.kept]
    order = id_order(there.run.rows.ids)
    at, read = find_ids(ids, there.run.rows.ids[order])
    other = order[at]
    lacking: Bool[np.ndarray, " rows"] = ~(read & there.verdicts.kept_P[other])
    could = read & (there.run.place_P[other] >= 0)
    chosen = np.flatnonzero(lacking)
    some = chosen[np.argsort(keys(0, "look/diff", ids[chosen]), kind="stable")[:most]]
    return {
        "rows": len(chosen),
        "not_read": int((lacking & ~read).sum()),
        "excluded": int((lacking & read & ~could).sum()),
        "not_drawn": int((lacking & could).sum()),
        "examples": [
            here.run.told(int(here.kept[i]))
            | {
                "loss": float(here.run.trajectories.mean("nll", here.run.place_P[here.kept[i : i + 1]])[0, -1]),
                "reason": here.run.reason(here.verdicts, int(here.kept[i])),
                "there": there.run.reason(there.verdicts, int(other[i])) if read[i] else NOT_READ,
            }
            for i in some.tolist()
        ],
    }
