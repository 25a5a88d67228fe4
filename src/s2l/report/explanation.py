"""One row in the terminal: who it is, why it is in or out, its losses drawn, who is like it, statistics, text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from s2l.errors import printable
from s2l.report.marks import plot, trained
from s2l.report.rows import facts, pieces, row_line, title
from s2l.theory.sample import evenly
from s2l.types import STATISTICS

MARKS = {"row": ("●", "bold cyan"), "cluster": ("o", "yellow"), "pool": ("·", "dim")}
NAMES = {"row": "this row", "cluster": "mean of its cluster", "pool": "mean of all rows"}
MOST_STEPS = 24


def print_explanation(found: Mapping[str, Any], console: Console) -> None:
    """Print what `look.explain` found."""
    parts: list[RenderableType] = [_who(found), *_why(found)]
    if found["losses"]:
        parts += [*_curves(found, console.width), *_cluster(found), *_nearest(found), *_statistics(found)]
    if found["row"]["pieces"] is not None:
        parts += [title("its text, as the proxy read it (▌ counts in the loss)"), pieces(found["row"]["pieces"])]
    console.print(Group(*parts))


def _who(found: Mapping[str, Any]) -> RenderableType:
    row = found["row"]
    repeat = f", exact repeat number {row['occurrence']} of another row" if row["occurrence"] else ""
    told = {"row": row["place"], "id": row["id"] + repeat, "source": row["source"]}
    if row["excluded"] is None:
        cut = "; it was cut there" if row["truncated"] else ""
        told["tokens"] = f"{row['tokens']:,}, of them {row['response_tokens']:,} of the response{cut}"
    else:
        told["excluded"] = f"{row['excluded']} (s2l peek POOL --row {row['place']} shows how it is read)"
    return facts(told)


def _why(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield title("in or out, and why")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for subset in found["subsets"]:
        kept = Text("in", style="bold green") if subset["kept"] else Text("out", style="bold")
        table.add_row(Text(printable(subset["name"])), kept, Text(subset["reason"] + _in_line(subset)))
    yield table


def _in_line(subset: Mapping[str, Any]) -> str:
    """Its place by the method's score, which decides."""
    line = subset["in_line"]
    if line is None:
        return ""
    return f"; number {line['at']:,} in line by its score of {subset['score']:.4g}"


def _curves(found: Mapping[str, Any], width: int) -> Iterator[RenderableType]:
    losses = found["losses"]
    start = trained(found["steps"])
    there = {name: losses[name] for name in MARKS if losses[name] is not None}
    before = "; not drawn: before training" if start else ""
    yield title(f"loss at every checkpoint, nats per response token{before}")
    yield from plot({MARKS[name]: loss[start:] for name, loss in there.items()}, found["steps"][start:], width)
    legend = Text(" " * 8)
    for name in there:
        legend.append(*MARKS[name]).append(f" {NAMES[name]}   ")
    yield legend
    yield Text(f"        at the end {losses['row'][-1]:.3f}: {losses['below']:.0%} of all rows have a lower loss")


def _cluster(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    cluster = found["cluster"]
    if cluster is None:
        return
    where = ""
    if cluster["distance"] is not None:
        where = f"; {cluster['distance']:.3f} from its centre, {cluster['nearer']:.0%} of its rows lie nearer"
    yield title("its cluster")
    yield Text(
        f"number {cluster['cluster']} of {cluster['of']} in {printable(cluster['subset'])}: {cluster['rows']:,} rows, "
        f"{cluster['drawn']:,} of them drawn{where}"
    )


def _nearest(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    if not found["nearest"]:
        return
    yield title("rows of the most like trajectory (Euclidean distance, nats)")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("distance", justify="right", no_wrap=True)
    table.add_column("cluster", justify="right", no_wrap=True)
    table.add_column("row, and the subsets it is in", overflow="fold")
    for row in found["nearest"]:
        cluster = "–" if row["cluster"] is None else str(row["cluster"])
        kept = f"in {', '.join(row['kept_in']) or 'none'}"
        table.add_row(f"{row['distance']:.3f}", cluster, row_line(row, kept))
    yield table


def _statistics(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    steps: Sequence[int] = found["steps"]
    at = evenly(range(len(steps)), MOST_STEPS)
    some = f", {len(at)} of {len(steps)} checkpoints" if len(at) < len(steps) else ""
    yield title(f"its seven statistics per response token{some}")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("step", *STATISTICS):
        table.add_column(name, justify="right", no_wrap=True)
    for t in at:
        table.add_row(f"{steps[t]:,}", *(f"{found['statistics'][name][t]:.3f}" for name in STATISTICS))
    yield table
