"""A comparison as tables in the terminal: what methods choose, how far they agree, how steadily, and at what cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from s2l.errors import printable
from s2l.report.screen import duration
from s2l.report.summary import MOST_SOURCES

NONE = "–"
MARGIN = 2
SOURCE_WIDTH = 30


def print_comparison(found: Mapping[str, Any], console: Console) -> None:
    """Print the figures of `pipeline.compare`; tables of methods by methods come in parts where they are too wide."""
    names = [f"{number} {method['method']}" for number, method in enumerate(found["methods"], 1)]
    parts: list[RenderableType] = [Text(_heading(found)), Text(), *_chosen(found, names), *_steady(found, names)]
    parts += _overlap(found, names, console.width)
    parts += _correlation(found, names, console.width)
    parts += _sources(found, console.width)
    parts += [Text(line) for line in _purity(found)]
    parts += [Text(printable(line)) for line in _missing(found)]
    console.print(Group(*parts))


def _heading(found: Mapping[str, Any]) -> str:
    pool, seeds = found["pool"], found["other_seeds"]
    return (
        f"{found['budget']} of {found['read']:,} rows read, {pool['rows']:,} of which can be chosen; "
        f"seed {found['seed']}, {seeds} other {'seed' if seeds == 1 else 'seeds'} beside it"
    )


def _chosen(found: Mapping[str, Any], names: Sequence[str]) -> Iterator[RenderableType]:
    """What every method chooses, beside the pool; and how far a row is from the nearest chosen one."""
    yield _title(f"what is chosen; distance of {found['coverage_rows']:,} rows to the nearest chosen one")
    distances = ("losses\nmean", "losses\n95 %", "embed.\nmean", "embed.\n95 %")
    table = _table("method", "rows", "tokens", "tokens\n%", "loss at\nthe end", "cut", "repeats", *distances)
    pool = found["pool"]
    table.add_row("all rows", *_kept(pool, pool), *[NONE] * 4, style="dim")
    for name, method in zip(names, found["methods"], strict=True):
        spaces = [method["coverage"][space] for space in ("losses", "embeddings")]
        far = [_or_none("{:.3f}".format, space and space[key]) for space in spaces for key in ("mean", "within_95")]
        table.add_row(name, *_kept(method, pool), *far)
    yield table


def _kept(rows: Mapping[str, Any], pool: Mapping[str, Any]) -> list[str]:
    return [
        f"{rows['rows']:,}",
        f"{rows['tokens']:,}",
        percent(rows["tokens"] / pool["tokens"]),
        f"{rows['mean_loss']:.3f}",
        f"{rows['truncated']:,}",
        f"{rows['repeats']:,}",
    ]


def _steady(found: Mapping[str, Any], names: Sequence[str]) -> Iterator[RenderableType]:
    """How much of each choice other seeds give, and what its scores cost."""
    yield _title("rows that other seeds choose too, %; cost in forward passes over the pool, and in time")
    table = _table("method", "by\nchance", "seeds of\nk-means", "seeds of\nthe draw", "passes", "proxy", "choosing")
    for name, method in zip(names, found["methods"], strict=True):
        steady, cost = method["stability"], method["cost"]
        seconds = cost["seconds"]
        known = [seconds[part] for part in ("train", "record", "more")]
        table.add_row(
            name,
            percent(steady["by_chance"]),
            _or_none(_range, steady["clusters"]),
            _or_none(_range, steady["draws"]),
            f"{cost['passes']:.1f}",
            NONE if None in known[:2] else duration(sum(known[:2])) + (" + ?" if known[2] is None else ""),
            duration(seconds["choose"]),
        )
    yield table


def _range(shared: Mapping[str, float]) -> str:
    mean, least, most = (percent(shared[name]) for name in ("mean", "least", "most"))
    return mean if least == most else f"{mean} ({least} to {most})"


def _overlap(found: Mapping[str, Any], names: Sequence[str], width: int) -> Iterator[RenderableType]:
    off = [value for i, row in enumerate(found["jaccard_by_chance"]) for j, value in enumerate(row) if i != j]
    ends = dict.fromkeys(map(percent, (min(off), max(off)))) if off else ()
    chance = f"; by chance {' to '.join(ends)}" if ends else ""
    title = f"rows that two methods both choose, % of those that either chooses{chance}"
    yield from _matrix(title, names, found["jaccard"], percent, 3, width)


def _correlation(found: Mapping[str, Any], names: Sequence[str], width: int) -> Iterator[RenderableType]:
    """Of the methods that rank all rows, where there are two of them."""
    matrix = found["rank_correlation"]
    ranking = [i for i, row in enumerate(matrix) if row[i] is not None]
    if len(ranking) > 1:
        title = "rank correlation of scores (1 the same order, 0 none in common, -1 the reverse)"
        values = [[matrix[i][j] for j in ranking] for i in ranking]
        yield from _matrix(title, [names[i] for i in ranking], values, _signed, 5, width)


def _matrix(
    title: str,
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    shown: Callable[[float], str],
    cell: int,
    width: int,
) -> Iterator[RenderableType]:
    """Methods by methods, as many columns at a time as there is room for; columns are named by number."""
    numbers = [name.partition(" ")[0] for name in names]
    yield _title(title)
    for part in _parts(len(names), max(map(len, names)), cell, width):
        table = _table("", *numbers[part], close=True)
        for i, name in enumerate(names):
            cells = ["·" if i == j else shown(values[i][j]) for j in range(len(names))[part]]
            table.add_row(name, *cells)
        yield table


def _sources(found: Mapping[str, Any], width: int) -> Iterator[RenderableType]:
    """Share of each source in the pool and in each choice, largest source first."""
    pool, methods = found["pool"], found["methods"]
    by_size = sorted(pool["sources"], key=lambda source: (-pool["sources"][source], source))
    labels = [printable(source) for source in by_size[:MOST_SOURCES]]
    widest = min(SOURCE_WIDTH, max(cell_len(label) for label in [*labels, "source"]))
    yield _title("share of each source among the chosen rows, %")
    for part in _parts(len(methods), widest + len("pool") + 1, 3, width):
        table = _table("source", "pool", *map(str, range(1, len(methods) + 1)[part]), close=True)
        table.columns[0].max_width = SOURCE_WIDTH
        for source, label in zip(by_size, labels, strict=False):
            shares = [percent(rows["sources"][source] / rows["rows"]) for rows in [pool, *methods[part]]]
            table.add_row(Text(label), *shares)
        if len(by_size) > MOST_SOURCES:
            table.add_row(f"… and {len(by_size) - MOST_SOURCES:,} more")
        yield table


def _parts(count: int, label: int, cell: int, width: int) -> Iterable[slice]:
    """Columns in parts, each with its row labels no wider than `width`."""
    at_once = max(1, (width - MARGIN - label) // (cell + 1))
    return (slice(start, min(start + at_once, count)) for start in range(0, count, at_once))


def _purity(found: Mapping[str, Any]) -> Iterator[str]:
    purity = found["purity"]
    if purity is None:
        return
    yield (
        f"purity of clusters by source (one cluster alone: {percent(purity['largest_source'])} %): "
        + "; ".join(
            f"by {name} {percent(of['purity'])} %, {percent(of['shuffled'])} % if sources are shuffled "
            f"({of['clusters']} clusters)"
            for name in ("losses", "embeddings")
            if (of := purity[name]) is not None
        )
    )


def _missing(found: Mapping[str, Any]) -> Iterator[str]:
    """What is not told, and how to get it; every method left out on a line of its own."""
    yield from found["notes"]
    if found["left_out"]:
        yield "left out, unless named by --methods:"
    for method in found["left_out"]:
        passes = method["passes"]
        cost = f" ({passes:g} forward {'pass' if passes == 1 else 'passes'} in all)" if passes else ""
        yield f"  {method['method']}: {method['reason']}{cost}"


def percent(share: float) -> str:
    """In three characters: `7.7`, `36`, `100`."""
    return f"{100 * share:.1f}" if share < 0.0995 else f"{100 * share:.0f}"


def _signed(correlation: float) -> str:
    return f"{round(correlation, 2) + 0.0:.2f}"  # without it -0.00


def _or_none(told: Callable[[Any], str], value: Any) -> str:
    return NONE if value is None else told(value)


def _title(text: str) -> Text:
    return Text(text, style="table.title")


def _table(label: str, *columns: str, close: bool = False) -> Table:
    """A column of labels, and columns of numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0) if close else (0, 1, 0, 0))
    table.add_column(label, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table
