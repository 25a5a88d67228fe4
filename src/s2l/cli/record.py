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
            help="What a training left: its folder, folders of checkpoints, or NAME@step1000,NAME@step2000 of the hub.",
        ),
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """Record the losses of a pool at checkpoints that another trainer left; then s2l select draws from them."""
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


def _print(manifest: dict[str, Any], run: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(manifest, indent=2))
        return
    from s2l.report.summary import print_summary

    print_summary(manifest, str(run), stdout)
    line = f"draw from it: s2l select {printable(str(run))} --budget {PAPERS_BUDGET}"
    stdout.print(line, markup=False, highlight=False, soft_wrap=True)
