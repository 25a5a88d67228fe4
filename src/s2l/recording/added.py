"""`s2l record RUN --add FILE`: rows that came after the proxy was trained, scored by the run's own checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from s2l.config import BUILTIN, WITHOUT_WEIGHTS, RunSettings
from s2l.data.pool import digest_of_files
from s2l.data.rows_file import load_rows, save_rows
from s2l.data.tokens import load_tokens, save_tokens, tokenize
from s2l.data.url import is_url, without_secrets
from s2l.errors import DataError, RunFolderError, printable, quoting_rows
from s2l.files import remove, write_json
from s2l.flags import validated
from s2l.ids import id_order
from s2l.pipeline import FILES, read_from
from s2l.progress import SILENT, Progress
from s2l.proxy.load import load_tokenizer
from s2l.recording.earlier import set_aside, was_finished
from s2l.recording.from_checkpoints import complete
from s2l.run_folder import RUN, RunFolder, hold
from s2l.types import Pool, Rows, Tokens


def add_rows(path: Path, files: Sequence[str], progress: Progress = SILENT) -> dict[str, Any]:
    """Add the rows of the files to a finished run; returns its manifest, where nothing is drawn yet.

    They are read and tokenized as the run's pool was, and scored at its checkpoints, in shards of their own; no other
    row is scored again. What had been drawn is set aside. Files that were added before are not added twice, so that a
    command that was stopped goes on. Raises DataError for a file of the pool that has changed or is gone.
    """
    with hold(path, must_exist=True) as folder:
        claimed = folder.claimed()
        made = validated(claimed["settings"])
        if not was_finished(folder):
            raise RunFolderError(f"{path}: the run is not finished; run its command again first")
        if made.proxy.model in WITHOUT_WEIGHTS:
            raise RunFolderError(
                f"{path}: recorded during a training, whose weights were not kept: nothing can score rows"
            )
        if claimed["pool"]["container"] not in FILES:
            raise DataError(f"{path}: its pool is no file, so rows cannot be added; make a new run of all rows")
        with quoting_rows(made.examples):
            asked = with_files(made, files, progress)
            check_files(made, claimed, path)
            there, _ = load_rows(folder.rows)
            if asked.added and there.added != asked.added:
                rows, tokens, pool = read_more(asked, there, folder, progress)
                if asked is not made:
                    set_aside(folder)
                    remove(folder.representations)
                    write_json(folder.path / RUN, _claim(claimed, asked, pool))
                save_tokens(tokens, folder.tokens)
                save_rows(rows, tokens, folder.rows, quoting=made.examples)
            return complete(asked, folder, progress)


def with_files(made: RunSettings, files: Sequence[str], progress: Progress) -> RunSettings:
    """The run's settings with these files added to the pool; the same object where all were added before."""
    known = {whole(path): place for place, path in enumerate(made.pool.paths)}
    first = len(made.pool.paths) - sum(made.added or ())
    new: dict[str, str] = {}
    for file in without_secrets(files):
        place = known.get(whole(file))
        if place is not None and place < first:
            raise DataError(f"{printable(file)}: this is the pool that the run was made from")
        if place is not None:
            progress.note(f"{printable(file)}: was added before")
        else:
            new.setdefault(whole(file), file)
    if not new:
        return made
    pool = made.pool.model_copy(update={"paths": (*made.pool.paths, *new.values())})
    return made.model_copy(update={"pool": pool, "added": (*(made.added or ()), len(new))})


def whole(path: str) -> str:
    """A URL as it is, the path of a file from the root on."""
    return path if is_url(path) else str(Path(path).resolve())


def check_files(made: RunSettings, claimed: Mapping[str, Any], run: Path) -> None:
    """DataError that names the file of the run's pool which is gone, or no longer what was read."""
    for path in made.pool.paths:
        if not is_url(path) and not Path(path).is_file():
            where = printable(claimed["directory"])
            raise DataError(f"{printable(path)}: the pool's file is not here; the run was made in {where}: go there")
    if digest_of_files(made.pool.paths) == claimed["pool"]["digest"]:
        return
    before = claimed["pool"].get("files", {})
    changed = [path for path in made.pool.paths if path in before and digest_of_files((path,)) != before[path]]
    name = changed[0] if changed else made.pool.paths[0]
    raise DataError(f"{printable(name)}: has changed since {printable(str(run))} read it; make a new run")


def read_more(asked: RunSettings, there: Rows, folder: RunFolder, progress: Progress) -> tuple[Rows, Tokens, Pool]:
    """All rows, as one pool: a repeat of an old row gets its next occurrence number; and the tokens of all."""
    pool = read_from(asked.pool, None, progress)
    rows = replace(pool.rows, added=asked.added or ())
    if not np.array_equal(rows.ids[: len(there)], there.ids):
        raise RunFolderError(f"{folder.path}: its rows are read differently now than they were; make a new run")
    new = _from(pool, len(there))
    tokens = tokenize(
        new,
        load_tokenizer(folder.tokenizer),
        asked.tokens,
        builtin=asked.proxy.model == BUILTIN,
        progress=progress,
    )
    old = load_tokens(folder.tokens)
    kept = np.flatnonzero(~np.isin(old.ids, new.rows.ids))  # after a stop some new ones may be there already
    return rows, merged(replace(old.of(kept), excluded=old.excluded), tokens), pool


def merged(one: Tokens, other: Tokens) -> Tokens:
    """The rows of both, in id order."""
    ids = np.concatenate([one.ids, other.ids])
    order = id_order(ids)
    lengths_N = np.concatenate([one.lengths, other.lengths])[order]
    first_N = np.concatenate([one.start_N[:-1], other.start_N[:-1] + len(one.input_ids)])[order]
    start_N = np.concatenate([[0], np.cumsum(lengths_N)])
    where = np.arange(start_N[-1]) + np.repeat(first_N - start_N[:-1], lengths_N)
    return Tokens(
        ids=ids[order],
        input_ids=np.concatenate([one.input_ids, other.input_ids])[where],
        counted=np.concatenate([one.counted, other.counted])[where],
        start_N=start_N,
        truncated_N=np.concatenate([one.truncated_N, other.truncated_N])[order],
        excluded={**one.excluded, **other.excluded},
    )


def _from(pool: Pool, first: int) -> Pool:
    """The pool's rows from `first` on."""
    every = pool.rows
    cut = {
        name: getattr(every, name)[first:] for name in ("ids", "occurrence_N", "source_N", "file_N", "row_N", "line_N")
    }
    own = set(cut["ids"].tolist())
    excluded = {id_: reason for id_, reason in every.excluded.items() if id_ in own}
    return replace(pool, rows=replace(every, **cut, excluded=excluded), contents=pool.contents.slice(first))


def _claim(claimed: Mapping[str, Any], asked: RunSettings, pool: Pool) -> dict[str, Any]:
    """What the folder is for now."""
    settings = asked.model_dump(mode="json", exclude={"proxy": {"processes"}})
    read = {
        "digest": pool.digest,
        "rows": len(pool),
        "notices": list(pool.notices),
        "files": {path: digest_of_files((path,)) for path in asked.pool.paths},
    }
    return {**claimed, "settings": settings, "pool": claimed["pool"] | read}
