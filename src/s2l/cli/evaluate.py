"""The verb that judges a model: evaluate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from s2l.cli.app import app, screen, stdout
from s2l.cli.options import AsJson, from_fields, with_fields_of
from s2l.config import PoolSettings
from s2l.flags import pairs
from s2l.target.evaluate_settings import EvaluateSettings


@app.command(rich_help_panel="Main job")
@with_fields_of(EvaluateSettings)
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or what `s2l train` left.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the figures and of every output.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", metavar="NAME=VALUE", help="Columns of held-out rows and summaries: prompt=…"),
    ] = None,
    source_column: Annotated[
        str | None, typer.Option("--source-column", metavar="NAME", help="Column of their source.")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="NAME=VALUE", help="Only such rows of them: label=true.")
    ] = None,
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """Judge a model: its loss on held-out rows by source, its answers to test sets, its summaries."""
    settings = from_fields(EvaluateSettings, given)
    settings.require()
    from s2l.target.evaluate import evaluate

    reading = None
    if columns or source_column or where:
        reading = PoolSettings(
            paths=settings.heldout or (settings.summaries or "",),
            columns=pairs("columns", columns or [], separator=","),
            source_column=source_column,
            where=pairs("where", where or []),
        )
    with screen() as progress:
        found = evaluate(model, settings, out, progress, reading)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from s2l.report.evaluation import print_evaluation

    print_evaluation(found, stdout, None if out is None else str(out))
