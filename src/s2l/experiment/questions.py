"""A pool cut into parts by question: rows that ask the same thing, in whatever style, land in one part."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from s2l.config import PoolSettings
from s2l.data.hub import load_source_dataset
from s2l.data.subset import write_subset
from s2l.errors import DataError, RunFolderError, SettingsError
from s2l.experiment.recipe import SplitSettings
from s2l.files import read_record, remove, write_json, written_whole
from s2l.ids import id_order
from s2l.pipeline import FILES, read_from
from s2l.progress import Progress
from s2l.selection import keyed
from s2l.selection.budget import parse_budget
from s2l.target.evaluated import read_as
from s2l.types import Example, Pool

SPLIT = "split.json"
PARTS = ("heldout", "pretrain", "pool")
NOWHERE = -1
ASKING = frozenset({"system", "user", "input", "text"})
WHOLE_NUMBER = re.compile(r"(\d)\.0+(?!\d)")
CHOICES = re.compile(r"\b(?:answer\s+)?(?:choices|options)\s*:.*\Z", re.IGNORECASE | re.DOTALL)
"""What a question may stand with or without."""
UNSAID = re.compile(r"[\W_]+")


def question_of(example: Example, style: re.Pattern[str]) -> str:
    """What is asked, without style: letters and digits alone, no case, `9.0` as `9`; without a last request for style,
    and without choices to answer by.

    Questions that differ in signs only count as one; so a part may hold fewer questions, never half of one.
    """
    if example.input_ids is not None:
        return " ".join(map(str, example.input_ids))
    text = "\n".join(turn.text for turn in example.turns if turn.role in ASKING)
    asked = CHOICES.sub("", text)
    bare = next((bare for part in (style.sub("", asked), asked, text) if (bare := _bare(part))), None)
    return text if bare is None else bare


def _bare(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return UNSAID.sub("", WHOLE_NUMBER.sub(r"\1", folded))


def part_of(pool: Pool, settings: SplitSettings) -> Int[np.ndarray, " N"]:
    """Each row's part, an index into `PARTS`, or NOWHERE; keyed by (seed, question), so row order does not matter.

    A part gets as many rows as asked, to within the rows of one question. Excluded rows are in no part.
    """
    style = re.compile(settings.style, re.IGNORECASE)
    usable = np.flatnonzero(~pool.rows.excluded_N)
    named = (question_of(example, style) for example in pool.examples(usable.tolist()))
    asked_n = np.array([blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest() for text in named])
    questions, at_n, rows_Q = np.unique(asked_n, return_inverse=True, return_counts=True)
    order = np.argsort(keyed.keys(settings.seed, "split/question", questions), kind="stable")
    reached_Q = np.cumsum(rows_Q[order])
    ends = np.cumsum([_rows(written, len(pool), len(usable)) for written in _sizes(settings)])
    if ends[-1] > len(usable):
        asked = ", ".join(f"{part} {size}" for part, size in zip(PARTS, _sizes(settings), strict=True) if size)
        raise SettingsError(f"split: {asked}: {ends[-1]:,} rows; there are {len(usable):,} that can be used")
    part_Q = np.empty(len(questions), dtype=np.int64)
    part_Q[order] = np.searchsorted(ends, reached_Q)
    part_Q[part_Q == len(PARTS)] = NOWHERE if settings.pool is not None else PARTS.index("pool")
    part_N = np.full(len(pool), NOWHERE)
    part_N[usable] = part_Q[at_n]
    return part_N


def _sizes(settings: SplitSettings) -> tuple[str | None, ...]:
    return tuple(getattr(settings, part) for part in PARTS)


def _rows(written: str | None, read: int, usable: int) -> int:
    if written is None:
        return 0
    budget = parse_budget(written)
    rows = int(budget.amount if budget.kind == "rows" else budget.amount * read + Fraction(1, 2))
    if rows > usable:
        raise SettingsError(f"split: {written} is {rows:,} rows; there are {usable:,} that can be used")
    return rows


def split(pool: PoolSettings, settings: SplitSettings, folder: Path, progress: Progress) -> dict[str, Any]:
    """Write each part's rows into `folder/PART`, byte for byte as they stand; returns their counts.

    Made once: what is there is returned. RunFolderError where the pool has changed since, DataError for an empty part.
    """
    read = read_from(pool, None, progress)
    if (folder / SPLIT).is_file():
        found: dict[str, Any] = read_record(folder / SPLIT)
        if found["digest"] != read.digest:
            raise RunFolderError(f"{folder}: split from other rows: the pool has changed since; use another --out")
        return found
    part_N = part_of(read, settings)
    dataset = None if read.container in FILES else load_source_dataset(pool)
    counts = {}
    for number, part in enumerate(PARTS):
        kept_N = part_N == number
        remove(folder / part)
        if kept_N.any():
            with written_whole(folder / part) as half:
                half.mkdir()
                write_subset(read.rows, kept_N, half, dataset, progress)
        elif part == "pool" or getattr(settings, part) is not None:
            raise DataError(f"split: no row is left for the part {part}; ask for less in the others")
        counts[part] = int(kept_N.sum())
    told = {"digest": read.digest, "read": len(read), "rows": counts, "unused": int((part_N == NOWHERE).sum())}
    write_json(folder / SPLIT, told)
    return told


def refuse_overlap(pool: PoolSettings, heldout: tuple[str, ...], progress: Progress) -> None:
    """DataError where rows of the held-out files stand in the pool too: they would be judged by what was learned."""
    chosen_from, judged_on = (read_from(asked, None, progress) for asked in (pool, read_as(heldout, pool)))
    twice = judged_on.rows.stand_in(chosen_from.rows.ids[id_order(chosen_from.rows.ids)])[1]
    if twice.any():
        first = judged_on.rows.place(int(np.flatnonzero(twice)[0]))
        raise DataError(
            f"{first}: stands in the pool too, as {int(twice.sum()):,} held-out rows do; take them out of one"
        )


def files_of(folder: Path) -> tuple[str, ...]:
    """A part's files (or its saved dataset), as paths to read from."""
    return tuple(str(path) for path in sorted(folder.iterdir()))
