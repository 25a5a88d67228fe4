"""Rows of a pool in the terminal: a table of facts, a line for a row, its text in pieces that count or do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from s2l.errors import printable

COUNTED, NOT_COUNTED, CUT_OFF = "▌", " ", "✂"
ANSWERS = " ▸ "


def facts(told: Mapping[str, str]) -> Table:
    """What is known, a line each: its name, and what it is."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in told.items():
        table.add_row(name, Text(printable(text)))
    return table


def title(text: str) -> RenderableType:
    """A heading, a blank line above it."""
    return Text(f"\n{printable(text)}", style="bold")


def excerpt(row: Mapping[str, Any]) -> str:
    """What a row asks and what it answers, on one line; empty where no text may be told."""
    text = row["text"]
    return "" if text is None else printable(ANSWERS.join(part for part in (text["prompt"], text["response"]) if part))


def cut_lines(*lines: tuple[str, str]) -> Table:
    """Lines with their styles, each cut at the width there is."""
    table = Table.grid()
    table.add_column(no_wrap=True, overflow="ellipsis")
    for text, style in lines:
        if text:
            table.add_row(Text(printable(text), style=style))
    return table


def row_line(row: Mapping[str, Any], *more: str) -> Table:
    """A row on two lines: its place, `more` and source; then what it says."""
    return cut_lines(("  ".join([row["place"], *more, row["source"]]), ""), (excerpt(row), "dim"))


@dataclass(frozen=True)
class Marked:
    """A piece of text behind a mark on every line: ▌ counts in the loss, ✂ is cut off, a blank is a prompt."""

    piece: Mapping[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The piece, wrapped."""
        counted, cut_off = self.piece["counted"], self.piece["cut_off"]
        mark, style = (CUT_OFF, "red") if cut_off else (COUNTED, "green") if counted else (NOT_COUNTED, "")
        for text in self.piece["text"].split("\n"):
            for line in Text(printable(text), style=style).wrap(console, options.max_width - 3, overflow="fold"):
                yield Text.assemble(" ", (mark, style), " ", line)


def pieces(found: Iterable[Mapping[str, Any]]) -> RenderableType:
    """A row's text."""
    return Group(*map(Marked, found))
