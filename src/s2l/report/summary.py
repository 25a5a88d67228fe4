"""The end of a run as a table in the terminal: what was read, left out, chosen, and whether to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from s2l.config import SEEN
from s2l.errors import printable
from s2l.report.caveats import SEEN_LOSSES, added_later
from s2l.report.screen import duration

MOST_SOURCES = 40


def print_summary(manifest: Mapping[str, Any], folder: str, console: Console) -> None:
    """Print the manifest of the run in `folder`."""
    console.print(Group(_facts(manifest, folder), Text(), _sources(manifest), Text(), *_subsets(manifest, folder)))


def _facts(manifest: Mapping[str, Any], folder: str) -> RenderableType:
    pool, tokens, signal = manifest["pool"], manifest["tokens"], manifest["signal"]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, text: str, style: str = "") -> None:
        table.add_row(name, Text(printable(text), style=style))

    row("rows read", f"{pool['read']:,} ({pool['exact_repeats']:,} exact repeats of another row)")
    if pool.get("added"):
        sentence, loud = added_later(pool["added"], pool["read"])
        row("added later", sentence, "bold red" if loud else "")
    excluded = sum(entry["rows"] for entry in pool["excluded"])
    row("excluded", f"{excluded:,}" if excluded else "none")
    for entry in pool["excluded"]:
        row("", f"{entry['rows']:,} × {entry['reason']}, the first at {entry['first']}")
    row(
        "tokens",
        f"{tokens['tokens']:,}, of them {tokens['response_tokens']:,} of responses; "
        f"{tokens['truncated']:,} rows cut at {manifest['settings']['tokens']['max_length']} tokens",
    )
    plan = manifest["proxy"]["plan"]
    start = manifest["proxy"]["start"]
    row(
        "proxy",
        f"{start['model']} ({start['parameters'] / 1e6:.1f} M parameters), {plan['steps']:,} steps, "
        f"{len(plan['saves'])} checkpoints",
    )
    if manifest["settings"]["proxy"]["model"] == SEEN:
        row("losses", SEEN_LOSSES)
    row("signal", signal["sentence"], "bold red" if signal["weak"] else "green")
    seconds = manifest["seconds"]
    row("seconds", ", ".join(f"{name} {duration(s)}" for name, s in seconds.items()))
    row("peak memory", f"{manifest['peak_memory_bytes'] / 2**30:.1f} GiB")
    row("run", folder)
    row("page", f"{folder}/report.html")
    return table


def _sources(manifest: Mapping[str, Any]) -> RenderableType:
    """Share of each source in the pool and in each subset, largest source first."""
    pool = manifest["pool"]
    table = Table(box=box.SIMPLE_HEAD, title="share of each source", title_justify="left", padding=(0, 1))
    table.add_column("source", overflow="fold")
    table.add_column("pool", justify="right")
    for subset in manifest["subsets"]:
        table.add_column(f"{subset['method']} {subset['budget']}", justify="right")
    by_size = sorted(pool["rows_by_source"].items(), key=lambda item: (-item[1], item[0]))
    for source, rows in by_size[:MOST_SOURCES]:
        cells = [_share(rows, pool["read"])]
        cells += [_share(subset["rows_by_source"][source], subset["rows"]) for subset in manifest["subsets"]]
        table.add_row(Text(printable(source)), *cells)
    if len(by_size) > MOST_SOURCES:
        table.add_row(f"… and {len(by_size) - MOST_SOURCES:,} more", *([""] * (1 + len(manifest["subsets"]))))
    return table


def _subsets(manifest: Mapping[str, Any], folder: str) -> list[RenderableType]:
    return [
        Text.assemble(
            (f"{subset['name']}", "bold"),
            f"  {subset['rows']:,} rows, {subset['tokens']:,} tokens",
            f", {subset['clusters']} clusters" if subset.get("clusters") else "",
            f"\n  {printable(folder)}/{subset['path']}\n  selection_sha256\n    {subset['selection_sha256']}",
        )
        for subset in manifest["subsets"]
    ]


def _share(part: int, whole: int) -> str:
    return f"{part:,}  {part / whole:6.1%}" if whole else "0"
