"""The verb that fine-tunes the target: train."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from s2l.cli.app import app, screen, stdout
from s2l.cli.options import AsJson, from_fields, with_fields_of
from s2l.config import PoolSettings
from s2l.errors import SettingsError, printable
from s2l.flags import explained, pairs
from s2l.progress import SILENT, Progress
from s2l.target.settings import TrainSettings

if TYPE_CHECKING:
    from s2l.target.rows import TargetRows


@app.command(rich_help_panel="Main job")
@with_fields_of(TrainSettings)
def train(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="Folder of a run, whose subset is trained on.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the training; the model is OUT/model.")] = None,
    subset: Annotated[
        str | None, typer.Option("--subset", metavar="NAME", help="Which of the run's subsets (default: its first).")
    ] = None,
    all_rows: Annotated[bool, typer.Option("--all", help="Train on the run's whole pool.")] = False,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="FILE", help="Train on the rows of this file or URL, or several; no RUN then."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", metavar="NAME=VALUE", help="Columns of --file: prompt=…,response=…"),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="NAME=VALUE", help="Only such rows of --file: label=true.")
    ] = None,
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """Fine-tune a model on a run's subset, on its whole pool, or on any file."""
    settings = from_fields(TrainSettings, given)
    settings.require()
    if (run is None) == (not file):
        raise SettingsError("say what to train on: a run (s2l train RUN), or --file FILE")
    if file and (subset or all_rows):
        raise SettingsError("--subset and --all are of a run; --file is all that is trained on")
    if subset and all_rows:
        raise SettingsError("--subset and --all: say one")
    if run and (columns or where):
        raise SettingsError("--columns and --where say how --file is read; a run knows how its own rows are")
    if out is None:
        raise SettingsError("--out FOLDER: say where the model goes")
    from s2l.target.rows import rows_of, rows_of_file, rows_of_pool
    from s2l.target.train import leads
    from s2l.target.train import train as fine_tune

    with screen() as shown_progress:
        progress: Progress = shown_progress if leads() else SILENT
        rows: TargetRows
        if run is None:
            rows = rows_of_file(_pool(file or [], columns or [], where or []), settings, progress)
        elif all_rows:
            rows = rows_of_pool(run, settings, progress)
        else:
            rows = rows_of(run, settings, subset, progress)
        found = fine_tune(rows, settings, out, progress)
    if not found:
        return
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    first, last = found["first_losses"][0], found["last_losses"]
    stdout.print(
        f"{found['rows']:,} rows, {found['epochs']:.3g} epochs, {found['steps']:,} steps; "
        f"{found['tokens_seen']:,} tokens seen, {found['response_tokens_seen']:,} of responses\n"
        f"loss {first:.3f} at the first step, {sum(last) / len(last):.3f} over the last {len(last)}\n"
        f"{found['seconds']:,.1f} s, {found['flops']:.3g} FLOPs\n{printable(str(out / 'model'))}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _pool(files: list[str], columns: list[str], where: list[str]) -> PoolSettings:
    values = {"paths": files, "columns": pairs("columns", columns, separator=","), "where": pairs("where", where)}
    try:
        return PoolSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(explained(error, "pool.")) from None
