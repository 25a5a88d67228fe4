"""The verb that records losses at checkpoints that another trainer left, and of rows that are added later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from s2l.cli.app import app, screen, stdout
from s2l.cli.options import AsJson, Out, with_flags_of
from s2l.errors import SettingsError, printable
from s2l.flags import FLAGS, of_record, validated, with_flags

RECORD_FLAGS = tuple(flag for flag, path in FLAGS.items() if of_record(path))
PAPERS_BUDGET = "11%"


@app.command(rich_help_panel="Main job")
@with_flags_of(RECORD_FLAGS)
def record(
    pool: Annotated[
        list[str],
        typer.Argument(metavar="POOL...", help="As for s2l run; with --add: the run."),
    ],
    checkpoints: Annotated[
        list[str] | None,
        typer.Option(
            "--checkpoints",
            metavar="DIR",
            help="What a training left: its folder; or folders of checkpoints, FOLDER@STEP, NAME@step1000 of the hub: "
            "with commas or repeated.",
        ),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="FILE", help="Rows to add to a run, scored at its checkpoints; may be repeated."),
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """Record the losses of a pool at checkpoints that another trainer left, or of rows that are added to a run."""
    if add:
        named = [f"--{flag}" for flag in given]
        named += ["--checkpoints"] * bool(checkpoints) + ["--out"] * (out is not None)
        _add(pool, add, named, as_json)
        return
    if not checkpoints:
        raise SettingsError("--checkpoints DIR: say which checkpoints (to train a proxy here: s2l run)")
    if out is None:
        raise SettingsError("--out FOLDER: say where the run goes")
    values = with_flags({"pool": {"paths": pool}, "select": {"budgets": [PAPERS_BUDGET]}}, given)
    settings = validated({**values, "recorded": checkpoints})
    with screen() as progress:
        from s2l.recording.from_checkpoints import record_checkpoints

        manifest = record_checkpoints(settings, out, progress)
    _print(manifest, out, as_json)


def _add(run: list[str], files: list[str], named: list[str], as_json: bool) -> None:
    if named:
        raise SettingsError(f"{named[0]}: rows are added to a run with its own settings: s2l record RUN --add FILE")
    if len(run) != 1:
        raise SettingsError("--add: name one run, and every file with an --add of its own")
    with screen() as progress:
        from s2l.recording.added import add_rows

        manifest = add_rows(Path(run[0]), files, progress)
    _print(manifest, Path(run[0]), as_json)


def _print(manifest: dict[str, Any], run: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(manifest, indent=2))
        return
    from s2l.report.summary import print_summary

    print_summary(manifest, str(run), stdout)
    line = f"draw from it: s2l select {printable(str(run))} --budget {PAPERS_BUDGET}"
    stdout.print(line, markup=False, highlight=False, soft_wrap=True)
