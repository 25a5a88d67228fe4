"""A recorded run as its page looks at it: rows in id order, their losses, and each subset's verdict on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from s2l.data.rows_file import load_rows
from s2l.errors import RunFolderError, SettingsError, shown
from s2l.files import read_record
from s2l.ids import id_order
from s2l.look.verdicts import read_verdicts
from s2l.proxy.plan import PLAN, Plan
from s2l.run_folder import MANIFEST, RunFolder
from s2l.trajectories import store
from s2l.types import Rows, Trajectories


@dataclass(frozen=True)
class Verdict:
    """What a subset says of the rows that can be chosen, in id order.

    group_N: its cluster, -1 where the method has none. distance_N: to the cluster's centre, nan without one.
    """

    manifest: Mapping[str, Any]
    kept_N: Bool[np.ndarray, " N"]
    group_N: Int[np.ndarray, " N"]
    distance_N: Float[np.ndarray, " N"]

    @property
    def name(self) -> str:
        """Of its folder."""
        return str(self.manifest["name"])


@dataclass(frozen=True)
class Seen:
    """A run whose losses are recorded; all of N, in id order.

    manifest: None while the run is not finished. row_N: place of each in `rows`, which are in file order. verdicts: of
    the subsets, the page's own first; none while nothing was drawn.
    """

    folder: RunFolder
    claimed: Mapping[str, Any]
    manifest: Mapping[str, Any] | None
    plan: Plan
    rows: Rows
    row_N: Int[np.ndarray, " N"]
    lengths_N: Int[np.ndarray, " N"]
    trajectories: Trajectories
    verdicts: Sequence[Verdict]

    def __len__(self) -> int:
        return len(self.row_N)

    @property
    def ids(self) -> Shaped[np.ndarray, " N"]:
        """Of the rows that can be chosen."""
        return self.trajectories.ids

    @property
    def seed(self) -> int:
        """The run's."""
        return int(self.claimed["settings"]["seed"])

    @property
    def verdict(self) -> Verdict | None:
        """Of the subset that the page is about."""
        return self.verdicts[0] if self.verdicts else None

    @property
    def kept_N(self) -> Bool[np.ndarray, " N"]:
        """The rows it chose: none where nothing was drawn."""
        return self.verdict.kept_N if self.verdict else np.zeros(len(self), dtype=bool)

    @property
    def source_N(self) -> Int[np.ndarray, " N"]:
        """Index into `rows.sources`."""
        source_N: Int[np.ndarray, " N"] = self.rows.source_N[self.row_N]
        return source_N

    def losses(self, column: int) -> Float[np.ndarray, " N"]:
        """Of every row at one checkpoint, nats per response token."""
        losses_N: Float[np.ndarray, " N"] = (
            self.trajectories.sums["nll"][:, column].astype(np.float64) / self.trajectories.tokens_N
        )
        return losses_N

    def trained(self, statistic: str, rows: slice | Int[np.ndarray, " n"]) -> Float[np.ndarray, "n T"]:
        """The statistic per response token of these rows, at the checkpoints that training made, if it made any."""
        steps = self.trajectories.steps
        return self.trajectories.mean(statistic, rows)[:, 1 if steps[0] == 0 and len(steps) > 1 else 0 :]


def seen(folder: RunFolder, subset: str | None = None) -> Seen:
    """The run in a folder that is held; `subset`: the one to look at, the manifest's first if not given.

    Raises RunFolderError where losses are not recorded yet or a file is damaged, SettingsError for an unknown subset.
    """
    claimed = folder.claimed()
    if not (folder.signal.is_file() and folder.rows.is_file() and (folder.proxy / PLAN).is_file()):
        raise RunFolderError(f"{folder.path}: its losses are not recorded yet; run its command again first")
    manifest = read_record(folder.manifest) if folder.manifest.is_file() else None
    plan = Plan.from_json(read_record(folder.proxy / PLAN))
    first = [0] if claimed["settings"]["proxy"]["initial_checkpoint"] else []
    trajectories = store.load(folder.trajectories, [*first, *plan.saves])
    rows, lengths_N = load_rows(folder.rows)
    order = id_order(rows.ids)
    row_N = order[~rows.excluded_N[order]]
    if not np.array_equal(rows.ids[row_N], trajectories.ids):
        raise RunFolderError(f"{folder.path}: not every row is recorded yet; run the same command again")
    folders = subset_folders(folder, manifest, subset)
    verdicts = [_verdict(path, rows, row_N) for path in folders]
    return Seen(folder, claimed, manifest, plan, rows, row_N, lengths_N, trajectories, verdicts)


def subset_folders(folder: RunFolder, manifest: Mapping[str, Any] | None, first: str | None) -> list[Path]:
    """The subsets' folders: the one asked for, then the manifest's in its order, then those drawn later, by name."""
    there = sorted(path.parent.name for path in folder.subsets.glob(f"*/{MANIFEST}"))
    if first is not None and first not in there:
        raise SettingsError(f"--subset {shown(first)}: there are: {', '.join(map(shown, there)) or 'none yet'}")
    listed = [subset["name"] for subset in manifest["subsets"]] if manifest else []
    order = [first] if first is not None else []
    return [folder.subsets / name for name in dict.fromkeys([*order, *listed, *there]) if name in there]


def _verdict(path: Path, rows: Rows, row_N: Int[np.ndarray, " N"]) -> Verdict:
    whole = read_verdicts(path, rows)
    return Verdict(whole.manifest, whole.kept_P[row_N], whole.cluster_P[row_N], whole.distance_P[row_N])
