"""What to train on, a run's subset, its whole pool or a file, in the target's tokens by our rendering and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerFast

from s2l.config import BUILTIN, PoolSettings, TokenSettings
from s2l.data.card import kind
from s2l.data.export import SELECTION
from s2l.data.pool import read_pool
from s2l.data.templates import choose_template
from s2l.data.tokens import fitting_texts, tokenize
from s2l.errors import DataError, RunFolderError, SettingsError, printable, shown
from s2l.files import read_record
from s2l.flags import validated
from s2l.progress import SILENT, Progress
from s2l.proxy import builtin
from s2l.proxy.load import load_tokenizer
from s2l.run_folder import MANIFEST, RunFolder
from s2l.target.model import find_model, template_in, tokenizer_in
from s2l.target.settings import TrainSettings
from s2l.theory.target import read_again
from s2l.types import Pool, Rows, Tokens


@dataclass(frozen=True)
class TargetRows:
    """Rows in the target's tokens.

    rows: who they are, and those left out because none of their response is within the window. template: by which they
    were rendered. pool_rows: how many rows the whole pool has that a proxy could score, None where there is no run.
    origin: where they come from, JSON-able.
    """

    tokens: Tokens
    rows: Rows
    tokenizer: PreTrainedTokenizerFast
    template: str
    pool_rows: int | None
    origin: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.tokens)

    def place(self, row: int) -> str:
        """Where a person finds row `row` of the tokens: `file:line`."""
        return self.rows.place(int(np.flatnonzero(self.rows.ids == self.tokens.ids[row])[0]))


def rows_of(run: Path, settings: TrainSettings, subset: str | None = None, progress: Progress = SILENT) -> TargetRows:
    """The rows of a finished run's subset, as the run wrote them; its first subset if none is named.

    Raises RunFolderError where the run is not finished or has no such subset, DataError where its files were changed.
    """
    opened = _Run.open(run)
    manifest = opened.subset(subset)
    folder = run / manifest["path"]
    asked = opened.pool.model_copy(
        update={
            "paths": tuple(str(folder / name) for name in manifest["files"]),
            "config": None,
            "split": "train",
            "revision": None,
            "repeats": "keep",
        }
    )
    pool = read_pool(asked)
    _check(pool, manifest, folder)
    origin = {name: manifest[name] for name in ("name", "method", "budget", "selection_sha256")}
    return opened.in_target_tokens(pool, settings, {"run": str(run), "subset": origin}, progress)


def rows_of_pool(run: Path, settings: TrainSettings, progress: Progress = SILENT) -> TargetRows:
    """All rows of a finished run's pool, which must be where it was, unchanged (DataError)."""
    opened = _Run.open(run)
    pool = read_again(validated(opened.claimed["settings"]), opened.claimed, progress)
    return opened.in_target_tokens(pool, settings, {"run": str(run), "pool": pool.digest}, progress)


def rows_of_file(asked: PoolSettings, settings: TrainSettings, progress: Progress = SILENT) -> TargetRows:
    """All rows of files, a saved datasets folder or a hub id."""
    pool = read_pool(asked, progress)
    for notice in pool.notices:
        progress.note(notice)
    settings.require()
    if settings.model != BUILTIN:
        tokenizer = tokenizer_in(_folder(settings))
    else:
        texts = fitting_texts(pool, TokenSettings(template=settings.template))
        tokenizer = builtin.fit_tokenizer(texts, settings.vocabulary)
    origin = {"files": list(asked.paths), "pool": pool.digest}
    return _in_target_tokens(pool, tokenizer, settings, "auto", None, origin, progress)


@dataclass(frozen=True)
class _Run:
    """A finished run, only read."""

    path: Path
    claimed: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> _Run:
        folder = RunFolder(path)
        claimed = folder.claimed()
        if not folder.manifest.is_file():
            raise RunFolderError(f"{path}: the run is not finished; run its command again first")
        return cls(path, claimed, read_record(folder.manifest))

    @property
    def pool(self) -> PoolSettings:
        return validated(self.claimed["settings"]).pool

    def subset(self, name: str | None) -> Mapping[str, Any]:
        """The manifest of the subset of that name, or of the first one that the run drew."""
        there = sorted(path.parent.name for path in RunFolder(self.path).subsets.glob(f"*/{MANIFEST}"))
        name = name or next((str(subset["name"]) for subset in self.manifest["subsets"]), there[0] if there else None)
        if name is None:
            raise RunFolderError(f"{self.path}: no subset in it; draw one: s2l select RUN --budget 11%")
        if name not in there:
            raise RunFolderError(f"{self.path}: no subset {shown(name)}; there are: {', '.join(there)}")
        found: Mapping[str, Any] = read_record(RunFolder(self.path).subsets / name / MANIFEST)
        return found

    def in_target_tokens(
        self, pool: Pool, settings: TrainSettings, origin: Mapping[str, Any], progress: Progress
    ) -> TargetRows:
        settings.require()
        own = load_tokenizer(RunFolder(self.path).tokenizer)
        tokenizer = own if settings.model == BUILTIN else tokenizer_in(_folder(settings))
        if pool.format == "tokenized" and tokenizer.get_vocab() != own.get_vocab():
            raise SettingsError(f"--model {shown(settings.model)}: the rows are token ids, not of its tokenizer")
        template = validated(self.claimed["settings"]).tokens.template
        return _in_target_tokens(pool, tokenizer, settings, template, self.manifest["tokens"]["rows"], origin, progress)


def _in_target_tokens(
    pool: Pool,
    tokenizer: PreTrainedTokenizerFast,
    settings: TrainSettings,
    usual: str,
    pool_rows: int | None,
    origin: Mapping[str, Any],
    progress: Progress,
) -> TargetRows:
    """The pool in the target's tokens. usual: the template that is meant where neither user nor model name one."""
    is_builtin = settings.model == BUILTIN
    learned = None if is_builtin else template_in(_folder(settings))
    asked = TokenSettings.model_validate(
        {
            "template": _template(pool.format, settings.template, learned, usual),
            "max_length": settings.max_length,
            "tokenizer": settings.model,
        }
    )
    tokens = tokenize(pool, tokenizer, asked, builtin=is_builtin, progress=progress)
    if tokens.excluded:
        reasons = Counter(map(kind, tokens.excluded.values())).most_common()
        told = ", ".join(f"{rows:,} {reason}" for reason, rows in reasons)
        progress.note(f"{len(tokens.excluded):,} of {len(pool):,} rows are left out: {told}")
    template, _ = choose_template(pool.format, asked.template, tokenizer, is_builtin)
    found = {**origin, "read": len(pool), "left_out": len(pool) - len(tokens), "format": pool.format}
    return TargetRows(tokens, pool.rows, tokenizer, template, pool_rows, found)


def _template(format_: str, asked: str, learned: str | None, usual: str) -> str:
    """The first of: what the user asked for, what the model was trained on, what the run was told."""
    if format_ in {"text", "tokenized"} or asked != "auto":
        return asked
    if learned in {"alpaca", "short", "chat"} and format_ in {"instruction", "pair"}:
        return learned
    return usual


def _check(pool: Pool, manifest: Mapping[str, Any], folder: Path) -> None:
    """DataError where the subset's files do not hold the rows that were drawn; exact repeats count as one another."""
    table = pq.read_table(folder / SELECTION, columns=["id", "kept", "occurrence"])
    kept_N = table["kept"].to_numpy() & (table["occurrence"].to_numpy() == 0)
    drawn = {id_.encode() for id_ in table["id"].filter(kept_N).to_pylist()}
    if len(pool) != manifest["rows"] or not drawn <= set(pool.rows.ids.tolist()):
        raise DataError(
            f"{printable(str(folder))}: its rows are not those that were drawn; remove the folder and draw again"
        )


def _folder(settings: TrainSettings) -> Path:
    settings.require()
    assert settings.model is not None, "just required"
    return find_model(settings.model, settings.revision)
