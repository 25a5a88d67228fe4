"""The verb that asks whether a selection was worth it: experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from s2l.cli.app import app, screen, stdout
from s2l.cli.options import AsJson
from s2l.cli.recipes import recipe as read_recipe
from s2l.errors import SettingsError, printable

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe (.yaml), or the experiment.json of another.")]
Folder = Annotated[
    Path | None, typer.Option("--out", help="Folder of the experiment; the same again goes on where it stopped.")
]
Only = Annotated[bool, typer.Option("--report", help="Train nothing: report on the cells that are done.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="List the cells and what they would take; train nothing.")]
Processes = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="Cells trained at a time, each with its part of the cores, or with a GPU."),
]


@app.command(rich_help_panel="Main job")
def experiment(
    recipe: Recipe,
    out: Folder = None,
    pool: Annotated[
        list[str] | None, typer.Option("--pool", metavar="FILE", help="The pool's files, instead of the recipe's.")
    ] = None,
    dry_run: Dry = False,
    report: Only = False,
    processes: Processes = 1,
    as_json: AsJson = False,
) -> None:
    """Methods × budgets × seeds: select, train a target, evaluate; a table with intervals, and a verdict in words."""
    values = read_recipe(recipe)
    out = out or (Path(folder) if isinstance(folder := values.pop("out", None), str) else None)
    values.pop("out", None)
    if pool:
        values["pool"] = {**_settings_of(values, "pool"), "paths": pool}
    from s2l.experiment.recipe import parsed

    settings = parsed(values)
    if out is None:
        raise SettingsError("--out FOLDER: say where the experiment goes")
    with screen() as progress:
        if dry_run:
            from s2l.experiment.plan import planned

            found = planned(settings, out, progress)
        else:
            from s2l.experiment.run import experiment, reported

            if report:
                found = reported(settings, out)
            else:
                found = experiment(settings, out, progress=progress, processes=processes)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for line in _planned(found) if dry_run else _told(found, out):
        stdout.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _settings_of(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    group = values.get(name, {})
    return group if isinstance(group, Mapping) else {}


def _told(found: Mapping[str, Any], out: Path) -> list[str]:
    """The verdict, and where the tables are."""
    cells = found["cells"]
    lines = [f"{cells['done']} of {cells['all']} cells are done", "", *found["verdict"]["lines"]]
    return [*lines, *found["verdict"]["notes"], "", f"tables and pictures: {out / 'experiment.md'}"]


def _planned(found: Mapping[str, Any]) -> list[str]:
    """A line a cell, and what is left."""
    from s2l.report.screen import duration

    lines = [f"rows: {', '.join(f'{part} {rows:,}' for part, rows in found['parts'].items())}"]
    for proxy in found["proxies"]:
        passes = f"{proxy['forward_passes']:g} forward passes over the pool each"
        lines.append(f"proxy {proxy['proxy']}: {proxy['runs']} runs, {passes}{_about(proxy['flops'])}")
    for cell in found["cells"]:
        state = (
            "done"
            if cell["done"]
            else f"{cell['steps']:,} steps, {cell['rows_seen']:,} rows seen{_about(cell['flops'])}"
        )
        lines.append(f"{cell['cell']}: {cell['rows']:,} rows, {state}")
    left = found["left"]
    seconds = left["seconds"]
    pace = "seconds are known once a cell is done" if seconds is None else f"about {duration(seconds)} of training"
    lines.append(f"left: {left['cells']:,} cells, {left['rows_seen']:,} rows seen{_about(left['flops'])}; {pace}")
    return lines


def _about(flops: float | None) -> str:
    return "" if flops is None else f", about {flops:.1e} FLOPs"
