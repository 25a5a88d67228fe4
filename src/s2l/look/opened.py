"""A finished run as it lies on disk: every part is read when it is first asked for, nothing is locked or written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from s2l.data.rows_file import load_rows
from s2l.data.tokens import load_tokens
from s2l.errors import RunFolderError, SettingsError, printable, shown, without_quotes
from s2l.files import PART, read_record
from s2l.look.texts import Texts, load_decoder
from s2l.look.verdicts import Verdicts, read_verdicts
from s2l.run_folder import MANIFEST, RunFolder
from s2l.selection.chunks import over_chunks
from s2l.trajectories import store
from s2l.types import Rows, Trajectories


@dataclass(frozen=True)
class Opened:
    """A finished run. P: rows of the pool, in file order; N: those that could be chosen, in id order.

    examples: whether text of rows may be told.
    """

    folder: RunFolder
    examples: bool = True

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What came out."""
        manifest: dict[str, Any] = read_record(self.folder.manifest)
        return manifest

    @cached_property
    def rows(self) -> Rows:
        """Every row of the pool."""
        return load_rows(self.folder.rows)[0]

    @cached_property
    def trajectories(self) -> Trajectories:
        """The recorded sums."""
        steps = [checkpoint["step"] for checkpoint in self.manifest["proxy"]["checkpoints"]]
        return store.load(self.folder.trajectories, steps)

    @property
    def first(self) -> int:
        """The first checkpoint of training: the second, where the first was taken before it, and there are more."""
        steps = self.trajectories.steps
        return int(len(steps) > 1 and steps[0] == 0)

    @cached_property
    def texts(self) -> Texts:
        """The rows' text as the proxy read it."""
        return Texts(load_tokens(self.folder.tokens), load_decoder(self.folder.tokenizer) if self.examples else None)

    @cached_property
    def place_P(self) -> Int[np.ndarray, " P"]:
        """Where every row stands in id order among those that could be chosen; -1 if it could not."""
        place_P, there_P = self.rows.stand_in(self.trajectories.ids)
        if there_P.sum() != len(self.trajectories) or (there_P == self.rows.excluded_N).any():
            raise RunFolderError(f"{self.folder.path}: rows and trajectories are of two pools; make the run anew")
        return np.where(there_P, place_P, -1)

    @cached_property
    def row_N(self) -> Int[np.ndarray, " N"]:
        """The inverse: which row of the pool stands there."""
        row_N = np.empty(len(self.trajectories), dtype=np.int64)
        row_N[self.place_P[self.place_P >= 0]] = np.flatnonzero(self.place_P >= 0)
        return row_N

    def sums(self, label_N: Int[np.ndarray, " N"], labels: int) -> Float[np.ndarray, "K T"]:
        """Of the loss trajectories of all rows that have the same label, nats per response token; -1 is no label."""

        def chunk(rows: slice) -> Float[np.ndarray, "K T"]:
            losses_nT = self.trajectories.mean("nll", rows)
            label_n = label_N[rows] + 1
            columns = [np.bincount(label_n, weights=column, minlength=labels + 1)[1:] for column in losses_nT.T]
            return np.stack(columns, axis=1)

        parts: Iterator[Float[np.ndarray, "K T"]] = over_chunks(chunk, len(self.trajectories))
        sums_KT: Float[np.ndarray, "K T"] = np.sum(list(parts), axis=0)
        return sums_KT

    @cached_property
    def subsets(self) -> tuple[str, ...]:
        """Names of the subsets: the run's own in their order, then those that were drawn later."""
        own = [subset["name"] for subset in self.manifest["subsets"]]
        there = {path.parent.name for path in self.folder.subsets.glob(f"*/{MANIFEST}")}
        names = [name for name in own if name in there]
        names += sorted(name for name in there - set(own) if not name.endswith(PART))
        if not names:
            raise RunFolderError(f"{self.folder.path}: no subset in it; draw one: s2l select RUN --budget 11%")
        return tuple(names)

    def verdicts(self, name: str) -> Verdicts:
        """The subset of that name; SettingsError where there is none, RunFolderError where it is damaged."""
        if name not in self.subsets:
            raise SettingsError(f"no subset {shown(name)} in the run; there are: {', '.join(self.subsets)}")
        return read_verdicts(self.folder.subsets / name, self.rows)

    def clustered(self, name: str | None) -> Verdicts:
        """The subset of that name, or the first that was drawn from clusters; SettingsError where it was not."""
        for each in self.subsets if name is None else [name]:
            verdicts = self.verdicts(each)
            if verdicts.clusters:
                return verdicts
        grouped = [each for each in self.subsets if self.verdicts(each).clusters]
        others = f"name another: {', '.join(grouped)}" if grouped else "draw one by them: s2l select RUN --budget 11%"
        raise SettingsError(f"subset {shown(name or self.subsets[0])} was not drawn from clusters; {others}")

    def told(self, row: int) -> dict[str, Any]:
        """Who a row of the pool is: id, place, source, and its text if that may be told."""
        rows, place = self.rows, int(self.place_P[row])
        return {
            "id": rows.ids[row].decode(),
            "place": printable(rows.place(row)),
            "source": printable(rows.sources[rows.source_N[row]]),
            "text": self.texts.line(place) if self.examples and place >= 0 else None,
        }

    def reason(self, verdicts: Verdicts, row: int) -> str:
        """Why the row is in or out, without what it quotes of the row where no text may be told."""
        reason = printable(verdicts.reason(row))
        return reason if self.examples or row_was_drawn(reason) else without_quotes(reason)

    def kept_in(self, verdicts: Sequence[Verdicts], row: int) -> list[str]:
        """Names of the subsets that the row is in."""
        return [each.name for each in verdicts if each.kept_P[row]]


def row_was_drawn(reason: str) -> bool:
    """Whether the reason is one of drawing, which quotes no row."""
    return not reason.startswith("excluded: ")


def open_run(path: Path, examples: bool = True) -> Opened:
    """The finished run at `path`; RunFolderError where there is none."""
    folder = RunFolder(path)
    folder.claimed()
    if not folder.manifest.is_file():
        raise RunFolderError(f"{path}: the run is not finished; s2l status says how far it is")
    return Opened(folder, examples)
