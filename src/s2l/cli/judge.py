"""Verbs that judge what was chosen, and by what: compare, verify, methods."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from s2l.cli.app import app, screen, stdout
from s2l.cli.options import AsJson, Run, with_fields_of, with_flags_of
from s2l.errors import SettingsError, shown
from s2l.flags import pairs
from s2l.theory.settings import VerifySettings


@app.command(rich_help_panel="Main job")
@with_flags_of(("budget",))
def compare(
    run: Run,
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="NAME,…", help="Methods (default: all whose scores are recorded)."),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="METHOD.NAME=VALUE", help="A method's own setting: s2l.clusters=200."),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option("--seeds", metavar="N", min=0, max=100, help="Other seeds that tell how steady a method is."),
    ] = 3,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Record embeddings for coverage and purity, if they are not there.")
    ] = False,
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """What methods would choose from one run, side by side: overlap, sources, coverage, stability, cost."""
    budgets = given.get("budget", [])
    if len(budgets) != 1:
        raise SettingsError("say how much, once: --budget 11%")
    names = None if methods is None else [name.strip() for name in methods.split(",")]
    settings = _by_method(options or [])
    from s2l.pipeline import compare

    with screen() as progress:
        found = compare(run, budgets[0], names, settings, seeds=seeds, embeddings=embeddings, progress=progress)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from s2l.report.comparison import print_comparison

    print_comparison(found, stdout)


@app.command(rich_help_panel="Main job")
@with_fields_of(VerifySettings)
def verify(
    run: Run,
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """S2L's theory, measured: do clusters share gradients, is the subset's mean gradient the pool's?"""
    asked = _verify_settings({flag.replace("-", "_"): value for flag, value in given.items()})
    from s2l.theory.verify import verify

    with screen() as progress:
        found = verify(run, asked, progress)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from s2l.report.verification import print_verification

    print_verification(found, str(run), stdout)


@app.command(rich_help_panel="Look up")
def methods(as_json: AsJson = False) -> None:
    """The selection methods and their settings."""
    from s2l.selection.methods import methods as all_methods

    if as_json:
        listed = {
            name: {"summary": method.summary, "settings": method.settings.model_json_schema()["properties"]}
            for name, method in all_methods().items()
        }
        typer.echo(json.dumps(listed, indent=2))
        return
    for name, method in all_methods().items():
        stdout.print(f"[bold]{name}[/bold]  {method.summary}", highlight=False, soft_wrap=True)
        for setting, field in method.settings.model_fields.items():
            stdout.print(
                f"  --set {setting}={field.default}  {field.description}", markup=False, highlight=False, soft_wrap=True
            )


def _by_method(written: Iterable[str]) -> dict[str, dict[str, str]]:
    """Settings by method, from `method.name=value` texts."""
    options: dict[str, dict[str, str]] = {}
    for path, value in pairs("set", written).items():
        method, _, name = path.partition(".")
        if not name:
            raise SettingsError(f"--set {shown(path)}: name the method too: s2l.clusters=200")
        options.setdefault(method, {})[name] = value
    return options


def _verify_settings(values: Mapping[str, Any]) -> VerifySettings:
    try:
        return VerifySettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = str(first["loc"][0]).replace("_", "-")
        raise SettingsError(f"--{flag} {shown(first['input'])}: {first['msg']}") from None
