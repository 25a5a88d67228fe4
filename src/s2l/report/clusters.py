"""The clusters of a subset as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from s2l.errors import printable
from s2l.report.marks import sparkline, trained
from s2l.report.rows import cut_lines, excerpt

NAMES = {
    "number": "number",
    "size": "size",
    "drawn": "rows drawn",
    "share": "share drawn",
    "first": "first loss",
    "last": "last loss",
    "fall": "fall of the loss",
}
HEADER = ("cluster", "rows", "drawn", "%", "first", "loss", "last", "sources; below: the most central row")
INDENT = 9


def print_clusters(found: Mapping[str, Any], console: Console) -> None:
    """Print what `look.clusters` found; every cluster has a second line, its most central row."""
    start = trained(found["steps"])
    bars = max(len(HEADER[5]), len(sparkline(found["all"]["losses"][start:])))
    lines = [
        (_columns(HEADER, bars), "bold"),
        (_line({"number": "all", "sources": [], **found["all"]}, start, bars), ""),
    ]
    for cluster in found["clusters"]:
        lines += [(_line(cluster, start, bars), ""), (_central(cluster), "dim")]
    console.print(Group(Text(_heading(found)), Text(), cut_lines(*lines), *_rest(found)))


def _heading(found: Mapping[str, Any]) -> str:
    every = found["all"]
    return printable(
        f"{found['subset']}: {every['drawn']:,} of {every['size']:,} rows drawn from {found['of']:,} clusters, by "
        f"{NAMES[found['sort']]}; mean losses in nats per response token, drawn as shares of their highest"
    )


def _columns(cells: Sequence[str], bars: int) -> str:
    """Numbers to the right, the bars and what follows to the left."""
    number, rows, drawn, share, first, loss, last, more = cells
    return f"{number:>7}{rows:>9}{drawn:>8}{share:>6}{first:>7}  {loss:<{bars}}{last:>6}  {more}"


def _line(cluster: Mapping[str, Any], start: int, bars: int) -> str:
    cells = (
        str(cluster["number"]),
        f"{cluster['size']:,}",
        f"{cluster['drawn']:,}",
        f"{cluster['share']:.0%}",
        f"{cluster['first']:.2f}",
        sparkline(cluster["losses"][start:]),
        f"{cluster['last']:.2f}",
        ", ".join(f"{source['source']} {source['rows'] / cluster['size']:.0%}" for source in cluster["sources"]),
    )
    return _columns(cells, bars)


def _central(cluster: Mapping[str, Any]) -> str:
    central = cluster["central"]
    return " " * INDENT + "  ".join(part for part in (central["place"], excerpt(central)) if part)


def _rest(found: Mapping[str, Any]) -> list[RenderableType]:
    left = found["of"] - len(found["clusters"])
    return [Text(f"… and {left:,} more clusters (--limit {found['of']} shows all)")] if left else []
