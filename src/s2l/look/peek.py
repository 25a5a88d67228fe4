"""How the rows of a pool are read: shape, template, tokens that count, truncation, exclusions; no model is needed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from s2l import __version__
from s2l.config import BUILTIN, RunSettings
from s2l.data.card import kind
from s2l.errors import printable
from s2l.forecast.sample import drawn, usable_rows
from s2l.look.places import find_row
from s2l.look.reading import SEED, Reading, read_as
from s2l.look.texts import middle_out, pieces_of
from s2l.progress import SILENT, Progress
from s2l.types import Pool, Tokens

TEMPLATES = {"text": "none, the rows are plain text", "tokenized": "none, the rows are already tokenized"}
WITHOUT_LOSS = "no response token within max_length"
CHANCE, CUT, EXCLUDED, ASKED = "by chance", "the first that is cut", "excluded", "asked for"


def peek(
    settings: RunSettings,
    *,
    row: str | None = None,
    rows: int = 3,
    every: bool = False,
    examples: bool = True,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """What `run` would make of the pool, JSON-able; docs/look.md says what each figure means.

    row: the id or `file:line` of the only one to show; else `rows` of them by chance, the first that is cut, and the
    first of each kind of exclusion. every: tokenize all rows of a large pool, not a sample. Raises what `run` would
    raise, but not for malformed rows.
    """
    reading = read_as(settings, every, examples, progress)
    pool = reading.pool
    shown = {find_row(pool.rows, row): ASKED} if row is not None else _chosen(reading, rows)
    return {
        "s2l": __version__,
        "pool": [printable(path) for path in pool.rows.files],
        "container": pool.container,
        "format": pool.format,
        "notices": [reading.said(notice) for notice in pool.notices],
        "rows": len(pool),
        "would_stop_a_run": settings.pool.bad_rows == "stop" and _any_malformed(pool),
        "sources": _sources(pool),
        "template": TEMPLATES.get(reading.template, reading.template),
        "tokenizer": _name(settings),
        "vocabulary": len(reading.tokenizer),
        "max_length": settings.tokens.max_length,
        "tokens": _amounts(len(reading.looked_at), reading.tokens),
        "excluded": _excluded(reading),
        "examples": [_example(reading, at, why) for at, why in shown.items()],
    }


def _any_malformed(pool: Pool) -> bool:
    return any(reason.startswith("malformed: ") for reason in pool.rows.excluded.values())


def _sources(pool: Pool) -> list[dict[str, Any]]:
    """Rows of each source, the largest first."""
    counts_S = np.bincount(pool.rows.source_N, minlength=len(pool.rows.sources))
    order = np.argsort(-counts_S, kind="stable").tolist()
    return [{"source": printable(pool.rows.sources[s]), "rows": int(counts_S[s])} for s in order]


def _name(settings: RunSettings) -> str:
    if settings.proxy.model != BUILTIN:
        return printable(settings.proxy.model)
    return printable(settings.tokens.tokenizer or "the built-in proxy's, fitted on the pool")


def _amounts(looked_at: int, tokens: Tokens) -> dict[str, Any]:
    """Of the rows looked at: how many can be chosen, how many were cut, their tokens and those that count."""
    lengths = np.sort(tokens.lengths)
    return {
        "looked_at": looked_at,
        "scorable": len(tokens),
        "cut": int(tokens.truncated_N.sum()),
        "tokens": int(tokens.start_N[-1]),
        "counted": int(tokens.counted.sum()),
        "median_length": int(lengths[len(lengths) // 2]),
        "longest": int(lengths[-1]),
    }


def _excluded(reading: Reading) -> list[dict[str, Any]]:
    """Kinds of exclusion, the most frequent first. of: rows that were looked at for it; first: where it is met."""
    kinds = {row: kind(reason) for row, reason in reading.reasons.items()}
    first = {why: row for row, why in reversed(kinds.items())}
    return [
        {
            "reason": printable(why),
            "rows": count,
            "of": len(reading.pool) if reading.unreadable(first[why]) else len(reading.looked_at),
            "first": printable(reading.pool.rows.place(first[why])),
        }
        for why, count in Counter(kinds.values()).most_common()
    ]


def _chosen(reading: Reading, rows: int) -> dict[int, str]:
    """Which rows to show, and why; those by chance are the same every time."""
    ids = reading.pool.rows.ids
    usable = usable_rows(reading.pool.rows)
    chosen = dict.fromkeys(usable[drawn(ids[usable], rows, SEED)].tolist(), CHANCE)
    cut = np.flatnonzero(np.isin(ids, reading.tokens.ids[reading.tokens.truncated_N]))
    chosen |= dict.fromkeys(cut[:1].tolist(), CUT)
    first = {kind(reason): row for row, reason in reversed(reading.reasons.items())}
    return chosen | dict.fromkeys(sorted(first.values()), EXCLUDED)


def _example(reading: Reading, row: int, why: str) -> dict[str, Any]:
    """A row as it is read. tokens: with those that are cut off; kept, counted: of those, without. reason: if excluded.

    pieces: its text; where no template writes it down, that of its turns.
    """
    rows, limit = reading.pool.rows, reading.settings.tokens.max_length
    tokens, refused = (None, None) if reading.unreadable(row) else reading.uncut(row)
    counted = 0 if tokens is None else int(tokens.counted[:limit].sum())
    reason = reading.reasons.get(row) or refused or (None if counted else WITHOUT_LOSS)
    pieces: list[dict[str, Any]] = []
    if reading.examples and tokens is not None:
        pieces = pieces_of(tokens.input_ids, tokens.counted, reading.tokenizer.backend_tokenizer, limit)
    elif reading.examples and not reading.unreadable(row):
        pieces = _turns(reading.pool, row)
    return {
        "id": rows.ids[row].decode(),
        "place": printable(rows.place(row)),
        "source": printable(rows.sources[rows.source_N[row]]),
        "why": why,
        "reason": None if reason is None else reading.said(reason),
        "tokens": None if tokens is None else len(tokens.input_ids),
        "kept": None if tokens is None else min(len(tokens.input_ids), limit),
        "counted": None if tokens is None else counted,
        "pieces": pieces if reading.examples else None,
    }


def _turns(pool: Pool, row: int) -> list[dict[str, Any]]:
    turns = pool.example(row).turns
    return [
        {"text": middle_out(f"{turn.role}: {turn.text}"), "tokens": None, "counted": False, "cut_off": False}
        for turn in turns
    ]
