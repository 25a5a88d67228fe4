"""The verb that writes a run's page, and its plots as figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from s2l.cli.app import app, screen, stdout
from s2l.cli.options import AsJson, Run
from s2l.errors import printable


@app.command(rich_help_panel="Main job")
def report(
    run: Run,
    subset: Annotated[
        str | None,
        typer.Option("--subset", metavar="NAME", help="The subset it is about (default: the run's first)."),
    ] = None,
    examples: Annotated[
        bool | None,
        typer.Option("--examples/--no-examples", help="Show rows, or no text of any (default: as the run was told)."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Write the main plots as SVG, PDF and PNG instead of the page."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """RUN/report.html, a page to open offline: what was chosen, and why."""
    from s2l.report.page.write import write_figures, write_report
    from s2l.run_folder import hold

    with hold(run, must_exist=True) as folder, screen() as progress:
        if figures is None:
            shows = folder.claimed()["settings"].get("examples", True) if examples is None else examples
            written = [write_report(folder, subset, with_examples=shows, progress=progress)]
        else:
            written = write_figures(folder, figures, subset, progress=progress)
    if as_json:
        typer.echo(json.dumps({"files": list(map(str, written))}, indent=2))
        return
    for path in written:
        stdout.print(printable(str(path)), markup=False, highlight=False, soft_wrap=True)
