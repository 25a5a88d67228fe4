"""Verbs that answer a person's question and change nothing: explain, clusters, diff, peek, status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from s2l.cli.app import app, screen, stdout
from s2l.cli.options import AsJson, Pool, Run, with_flags_of
from s2l.cli.recipes import is_recipe, recipe
from s2l.config import BUILTIN
from s2l.errors import SettingsError
from s2l.flags import FLAGS, validated, with_flags

PANEL = "Look closer"
PEEK_FLAGS = (
    *(flag for flag, path in FLAGS.items() if path.startswith(("pool.", "tokens."))),
    *("proxy", "proxy-revision", "vocabulary"),
)
ANY_BUDGET = "11%"

Subset = Annotated[
    str | None, typer.Option("--subset", metavar="NAME", help="Whose clusters (default: the first drawn from any).")
]
NoExamples = Annotated[bool, typer.Option("--no-examples", help="Leave all text of rows out.")]


@app.command(rich_help_panel=PANEL)
def explain(
    run: Run,
    row: Annotated[str, typer.Argument(metavar="ROW", help="An id, its first digits, or file:line.")],
    subset: Subset = None,
    nearest: Annotated[int, typer.Option("--nearest", metavar="N", min=0, help="Rows of like trajectory to name.")] = 5,
    no_examples: NoExamples = False,
    as_json: AsJson = False,
) -> None:
    """One row: its losses, its cluster, why it is in or out of every subset, the rows most like it."""
    from s2l.look.explain import explain

    found = explain(run, row, subset=subset, nearest=nearest, examples=not no_examples)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from s2l.report.explanation import print_explanation

    print_explanation(found, stdout)


@app.command(rich_help_panel=PANEL)
def clusters(
    run: Run,
    subset: Subset = None,
    sort: Annotated[
        str,
        typer.Option("--sort", metavar="COLUMN", help="number, size, drawn, share, first, last or fall (of the loss)."),
    ] = "number",
    reverse: Annotated[bool, typer.Option("--reverse", help="The highest first.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="The first N clusters only.")] = None,
    no_examples: NoExamples = False,
    as_json: AsJson = False,
) -> None:
    """The clusters of a subset: size, rows drawn, losses, sources, the most central row."""
    from s2l.look.clusters import clusters

    found = clusters(run, subset=subset, sort=sort, reverse=reverse, most=limit, examples=not no_examples)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from s2l.report.clusters import print_clusters

    print_clusters(found, stdout)


@app.command(rich_help_panel=PANEL)
def diff(
    one: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run, or a subset of it: RUN/subsets/NAME.")],
    other: Annotated[str, typer.Argument(metavar="RUN_B", help="The same; or the name of another subset of RUN_A.")],
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=0, help="Rows to name that are in one alone.")] = 3,
    no_examples: NoExamples = False,
    as_json: AsJson = False,
) -> None:
    """Two subsets: overlap against chance, what moved by source, settings that differ, rows only in one."""
    from s2l.look.diff import diff

    found = diff(one, other, rows=rows, examples=not no_examples)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from s2l.report.difference import print_difference

    print_difference(found, stdout)


@app.command(rich_help_panel=PANEL)
@with_flags_of(PEEK_FLAGS, proxy=BUILTIN)
def peek(
    pool: Pool,
    row: Annotated[
        str | None, typer.Option("--row", metavar="ROW", help="This row alone: an id, its first digits, or file:line.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=0, help="Rows by chance to show.")] = 3,
    every: Annotated[bool, typer.Option("--all", help="Tokenize all rows, not a sample of 20,000.")] = False,
    no_examples: NoExamples = False,
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """How rows are read: shape, template, counted tokens, truncation, exclusions; by the built-in proxy or --proxy."""
    values = with_flags(recipe(pool[0]) if is_recipe(pool) else {"pool": {"paths": pool}}, given)
    values.pop("out", None)
    for group, setting, default in (("proxy", "model", BUILTIN), ("select", "budgets", [ANY_BUDGET])):
        if not isinstance(values.setdefault(group, {}), dict):
            raise SettingsError(f"recipe: '{group}' must hold settings by name")
        values[group].setdefault(setting, default)
    settings = validated(values)
    from s2l.look.peek import peek

    with screen() as progress:
        found = peek(settings, row=row, rows=rows, every=every, examples=not no_examples, progress=progress)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from s2l.report.peeked import print_peek

    print_peek(found, stdout)


@app.command(rich_help_panel=PANEL)
def status(run: Run, as_json: AsJson = False) -> None:
    """How far a run is, which process holds it, what is left; also while it works, and after a kill."""
    from s2l.look.status import status

    found = status(run)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from s2l.report.status import print_status

    print_status(found, stdout)
