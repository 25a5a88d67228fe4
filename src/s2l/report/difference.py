"""Two subsets side by side in the terminal: overlap, sources, settings, rows that are in one alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from s2l.errors import printable, shown
from s2l.report.comparison import percent
from s2l.report.rows import facts, row_line, title

MOST_SOURCES = 20
POINT = 0.0005
"""A source whose share moved by less is not listed where there are many."""


def print_difference(found: Mapping[str, Any], console: Console) -> None:
    """Print what `look.diff` found."""
    parts = [_sides(found), *_overlaps(found), *_sources(found), *_settings(found)]
    parts += [*_only(found, "a"), *_only(found, "b")]
    console.print(Group(*parts))


def _sides(found: Mapping[str, Any]) -> RenderableType:
    told = {}
    for name in ("a", "b"):
        side = found[name]
        told[name.upper()] = (
            f"{side['run']}, {side['subset']}: {side['rows']:,} rows, {side['tokens']:,} tokens, of "
            f"{side['could_be_chosen']:,} that could be chosen"
        )
    same = found["a"]["pool"] == found["b"]["pool"]
    told["pool"] = "the same" if same else "two pools: rows are the same where their ids, hashes of their content, are"
    return facts(told)


def _overlaps(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield title("rows in both, and how many if both had drawn at random")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("A", overflow="fold")
    table.add_column("B", overflow="fold")
    for name in ("both", "by\nchance", "% of A", "by\nchance", "% of B", "by\nchance"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in found["overlaps"]:
        both, by_chance = pair["both"], pair["by_chance"]
        shares = [percent(rows / pair[size]) for size in ("rows_a", "rows_b") for rows in (both, by_chance)]
        table.add_row(*(Text(printable(pair[side])) for side in "ab"), f"{both:,}", f"{by_chance:,.1f}", *shares)
    yield table
    a, b = found["a"], found["b"]
    if (a["method"], a["seed"]) == (b["method"], b["seed"]):
        yield Text(
            f"Both are drawn by {a['method']} with seed {a['seed']}. Random numbers are keyed by seed and id, so a row "
            "has the same in both: more than chance is to be expected; another --seed tells how much more."
        )


def _sources(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What moved most; what hardly moved is counted alone where there is much of it."""
    sources = found["sources"]
    listed = sources
    if len(sources) > MOST_SOURCES:
        listed = [source for source in sources if abs(source["moved"]) >= POINT][:MOST_SOURCES]
    yield title("share of each source, %; what moved most from A to B comes first")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("source", overflow="fold")
    two = found["a"]["pool"] != found["b"]["pool"]
    names = ["rows A", "rows B", "A", "B", "moved", *(("pool A", "pool B") if two else ("pool",))]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for source in listed:
        shares = [percent(source[f"share_{side}"]) for side in "ab"]
        pools = [percent(source[f"pool_{side}"]) for side in ("ab" if two else "a")]
        rows = [f"{source[f'rows_{side}']:,}" for side in "ab"]
        table.add_row(Text(printable(source["source"])), *rows, *shares, f"{100 * source['moved']:+.1f}", *pools)
    yield table
    if left := len(sources) - len(listed):
        yield Text(f"… and {left:,} more that moved less")


def _settings(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What differs in settings, and in what was there."""
    headings = {"settings": "settings that differ", "made": "what else differs: pool, proxy, machine, versions"}
    for name, heading in headings.items():
        if not found[name]:
            yield title(f"{heading}: none")
            continue
        yield title(heading)
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("", "A", "B"):
            table.add_column(column, overflow="fold")
        for differing in found[name]:
            values = (differing[side] for side in "ab")
            told = [shown(value if isinstance(value, str) else json.dumps(value))[1:-1] for value in values]
            table.add_row(*(Text(printable(cell)) for cell in (differing["what"], *told)))
        yield table


def _only(found: Mapping[str, Any], side: str) -> Iterator[RenderableType]:
    only, other = found[f"only_{side}"], {"a": "B", "b": "A"}[side]
    why = {
        "not_drawn": f"{other} did not draw",
        "excluded": f"{other} could not choose",
        "not_read": f"{other} has not got",
    }
    told = "; ".join(f"{only[name]:,} that {text}" for name, text in why.items() if only[name])
    yield title(f"in {side.upper()} alone: {only['rows']:,} rows" + (f" ({told})" if told else ""))
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in only["examples"]:
        reasons = f"loss {row['loss']:.2f}; {row['reason']}; {other}: {row['there']}"
        lines = row_line(row)
        lines.add_row(Text(printable(reasons), style="dim"))
        table.add_row(" ", lines)
    yield table
