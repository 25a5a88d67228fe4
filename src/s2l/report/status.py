"""How far a run is, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from s2l.errors import printable
from s2l.report.screen import duration

STYLES = {"finished": "bold green", "at work": "bold cyan", "stopped": "bold yellow", "damaged": "bold red"}
MARKS = {"done": "✓", "at work": "▸", "left": " "}
MOST_FILES = 12


def print_status(found: Mapping[str, Any], console: Console) -> None:
    """Print what `look.status` found."""
    console.print(Group(_state(found), _stages(found), *_files(found), *_next(found)))
    if found["command"] and found["process"] is None:
        console.print(Text(printable(f"to go on, in {found['directory']}:")))
        console.print(Text(f"  {found['command']}"), soft_wrap=True)


def _state(found: Mapping[str, Any]) -> Text:
    state, process = found["state"], found["process"]
    held = "no process is at work in it"
    if process is not None:
        held = f"process {process} is at work in it" if process else "a process elsewhere is at work in it"
    spent = f"{duration(found['seconds'])} {'in all' if state == 'finished' else 'so far'}"
    return Text.assemble(printable(found["run"]), ": ", (state, STYLES[state]), f"; {held}; {spent}")


def _stages(found: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("stage", no_wrap=True)
    table.add_column("done", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    for stage in found["stages"]:
        spent = stage["seconds"]
        time = "" if spent is None else duration(spent)
        if stage["state"] == "at work" and found["seconds_in_stage"] is not None:
            time = duration(found["seconds_in_stage"] + (spent or 0.0))
        style = "dim" if stage["state"] == "left" else ""
        table.add_row(MARKS[stage["state"]], stage["name"], _done(stage, found), time, style=style)
    return table


def _done(stage: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    if not stage["unit"] or stage["of"] is None:
        return str(stage["state"])
    left = found["seconds_left_in_stage"] if stage["state"] == "at work" else None
    pace = "" if left is None else f", about {duration(left)} left"
    return f"{stage['done']:,} of {stage['of']:,} {stage['unit']}{pace}"


def _files(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    being = "being written" if found["process"] is not None else "left half-written; removed when the run goes on"
    for name, told, style in (
        ("damaged", "damaged", "bold red"),
        ("missing", "missing", "bold red"),
        ("half_written", being, ""),
    ):
        files = found[name]
        for file in files[:MOST_FILES]:
            yield Text(printable(f"{told}: {file}"), style=style)
        if len(files) > MOST_FILES:
            yield Text(f"{told}: {len(files) - MOST_FILES:,} more", style=style)


def _next(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    if found["subsets"]:
        yield Text(printable(f"subsets: {', '.join(found['subsets'])}"))
    if found["damaged"] or found["missing"]:
        yield Text(
            "what to do: remove what is damaged and run the run's command again; it says where that is not enough"
        )
