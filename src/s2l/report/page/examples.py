"""Rows to read: of each cluster the typical, the odd, the chosen and the others; and those that stand out of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from s2l.data.tokens import load_tokens
from s2l.progress import Progress
from s2l.proxy.load import load_tokenizer
from s2l.report.page.again import token_losses
from s2l.report.page.groups import MOST_POINTS, Groups
from s2l.report.page.pieces import cut, pieces_of
from s2l.report.page.seen import Seen
from s2l.report.page.words import name_of, place_of, short
from s2l.selection import keyed
from s2l.selection.chunks import over_chunks
from s2l.theory.sample import evenly
from s2l.types import Tokens

MOST_GROUPS, ROWS_OF_A_KIND, MOST_LISTED, MOST_PLACES = 100, 3, 10, 5


@dataclass
class Shelf:
    """Rows that are shown, each once, in the order in which they are first asked for."""

    place: dict[int, int] = field(default_factory=dict)

    def put(self, rows: Int[np.ndarray, " n"]) -> list[int]:
        """Places of the rows on the shelf."""
        return [self.place.setdefault(row, len(self.place)) for row in rows.tolist()]


def examples(seen: Seen, groups: Groups, progress: Progress) -> dict[str, Any]:
    """The rows shown, with their text as the proxy read it, and where each is shown and why."""
    tokens = load_tokens(seen.folder.tokens)
    shelf = Shelf()
    by_group = of_groups(seen, groups, shelf)
    lists = [
        listed("hardest", *hardest(seen), shelf),
        listed("forgotten", *forgotten(seen), shelf),
        listed("suspects", *suspects(seen), shelf),
        listed("repeats", *repeats(seen, tokens), shelf),
    ]
    shown = np.array(list(shelf.place), dtype=np.int64)
    losses = token_losses(seen, tokens, shown, progress)
    return {
        "scored": losses is not None,
        "step": seen.trajectories.steps[-1],
        "groups": by_group,
        "lists": lists,
        "rows": _rows(seen, groups, tokens, shown, losses),
    }


def of_groups(seen: Seen, groups: Groups, shelf: Shelf) -> dict[str, dict[str, list[int]]]:
    """Of 100 groups at most, evenly picked by number: the nearest to the centre, the farthest, some between."""
    picked = evenly(groups.shown, MOST_GROUPS)
    each = max(1, min(ROWS_OF_A_KIND, MOST_GROUPS // len(picked)))
    keys_N = keyed.keys(seen.seed, "report/examples", seen.ids)
    order = np.lexsort((groups.distance_N, groups.group_N))
    stops = np.cumsum(groups.sizes)
    found = {}
    for group in picked:
        rows = order[stops[group] - groups.sizes[group] : stops[group]]
        central, distant, between = rows[:each], rows[max(each, len(rows) - each) :][::-1], rows[each:-each]
        drawn = between[np.argsort(keys_N[between], kind="stable")]
        found[str(group)] = {
            "central": shelf.put(central),
            "distant": shelf.put(distant),
            "chosen": shelf.put(drawn[seen.kept_N[drawn]][:each]),
            "others": shelf.put(drawn[~seen.kept_N[drawn]][:each]),
        }
    return found


def hardest(seen: Seen) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """Highest mean loss over the checkpoints that training made."""
    mean_N = np.concatenate(list(over_chunks(lambda some: seen.trained("nll", some).mean(axis=1), len(seen))))
    rows = _first(seen, mean_N)
    return rows, [f"mean loss {mean_N[row]:.2f}" for row in rows]


def forgotten(seen: Seen) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """Most drops in right tokens from one checkpoint to the next (arXiv 1812.05159); ties: the most tokens lost."""
    chances = seen.trained("hits", slice(0, 1)).shape[1] - 1
    if not chances:
        return np.zeros(0, dtype=np.int64), []

    def drops(some: slice) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        lost_nS = np.maximum(-np.diff(seen.trained("hits", some), axis=1), 0)
        return (lost_nS > 0).sum(axis=1), lost_nS.sum(axis=1)

    drops_N, lost_N = map(np.concatenate, zip(*over_chunks(drops, len(seen)), strict=True))
    rows = _first(seen, drops_N + lost_N / (chances + 1))
    rows = rows[drops_N[rows] > 0]
    return rows, [f"fell back {drops_N[row]} times in {chances}" for row in rows]


def suspects(seen: Seen) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """Highest loss at the last checkpoint for their source, in standard deviations of the source's rows."""
    last_N, source_N = seen.losses(-1), seen.source_N
    sizes_S = np.maximum(np.bincount(source_N), 1)
    above_N = last_N - (np.bincount(source_N, last_N) / sizes_S)[source_N]
    deviation_S = np.sqrt(np.bincount(source_N, np.square(above_N)) / sizes_S)
    score_N = np.divide(above_N, deviation_S[source_N], out=np.zeros_like(above_N), where=deviation_S[source_N] > 1e-9)
    rows = _first(seen, score_N)
    rows = rows[score_N[rows] > 0]
    return rows, [
        f"loss {last_N[row]:.2f} at the end, {score_N[row]:.1f} standard deviations above its source" for row in rows
    ]


def repeats(seen: Seen, tokens: Tokens) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """The contents repeated most often, one row of each, with all copies that can be chosen."""
    occurrence_N = seen.rows.occurrence_N[seen.row_N]
    again = np.flatnonzero(occurrence_N > 0)

    def content(row: int) -> tuple[bytes, bytes, int]:
        span = slice(*tokens.start_N[row : row + 2])
        return tokens.input_ids[span].tobytes(), tokens.counted[span].tobytes(), int(seen.source_N[row])

    copies: dict[tuple[bytes, bytes, int], list[int]] = {}
    for row in again[np.argsort(-occurrence_N[again], kind="stable")].tolist():
        copies.setdefault(content(row), [])
        if len(copies) == MOST_LISTED:
            break
    lengths = {len(ids) // tokens.input_ids.itemsize for ids, _, _ in copies}
    for row in np.flatnonzero(np.isin(tokens.lengths, list(lengths))).tolist():
        if (key := content(row)) in copies:
            copies[key].append(row)
    found = [sorted(rows, key=lambda row: int(occurrence_N[row])) for rows in copies.values()]
    return np.array([rows[0] for rows in found], dtype=np.int64), [_copies(seen, rows) for rows in found]


def listed(key: str, rows: Int[np.ndarray, " n"], labels: Sequence[str], shelf: Shelf) -> dict[str, Any]:
    """A list of rows as the page has it."""
    return {"key": key, "rows": shelf.put(rows), "labels": list(labels)}


def _first(seen: Seen, score_N: Float[np.ndarray, " N"]) -> Int[np.ndarray, " n"]:
    """The rows of the highest scores, of exact repeats the first alone; ties by id."""
    once = np.flatnonzero(seen.rows.occurrence_N[seen.row_N] == 0)
    return once[np.argsort(-score_N[once], kind="stable")[:MOST_LISTED]]


def _copies(seen: Seen, rows: Sequence[int]) -> str:
    places = [place_of(seen.rows.place(int(seen.row_N[row]))) for row in rows[:MOST_PLACES]]
    more = f" and {len(rows) - MOST_PLACES:,} more" if len(rows) > MOST_PLACES else ""
    return f"{len(rows):,} copies, {int(seen.kept_N[list(rows)].sum()):,} chosen: {', '.join(places)}{more}"


def _rows(
    seen: Seen,
    groups: Groups,
    tokens: Tokens,
    shown: Int[np.ndarray, " n"],
    losses: list[Float[np.ndarray, " _"]] | None,
) -> list[dict[str, Any]]:
    tokenizer = load_tokenizer(seen.folder.tokenizer)
    columns = evenly(range(len(seen.trajectories.steps)), MOST_POINTS)
    losses_nT = seen.trajectories.mean("nll", shown)[:, columns]
    found = []
    for i, row in enumerate(shown.tolist()):
        span = slice(*tokens.start_N[row : row + 2])
        pieces = pieces_of(tokens.input_ids[span], tokens.counted[span], losses[i] if losses else None, tokenizer)
        pieces, left_out = cut(pieces)
        found.append(
            {
                "id": seen.ids[row].decode(),
                "place": place_of(seen.rows.place(int(seen.row_N[row]))),
                "source": name_of(seen.rows.sources[seen.source_N[row]]),
                "group": int(groups.group_N[row]),
                "chosen": bool(seen.kept_N[row]),
                "tokens": int(seen.lengths_N[row]),
                "response_tokens": int(seen.trajectories.tokens_N[row]),
                "truncated": bool(tokens.truncated_N[row]),
                "distance": round(float(groups.distance_N[row]), 3),
                "losses": short(losses_nT[i]),
                "left_out": left_out,
                "pieces": [p.text if p.loss is None else [p.text, round(p.loss, 2) + 0.0] for p in pieces],
            }
        )
    return found
