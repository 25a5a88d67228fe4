"""Verbs that choose: run, plan, demo, select."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field, ValidationError

from s2l.cli.app import app, screen, stdout
from s2l.cli.options import AsJson, Out, Pool, Preset, Run, with_flags_of
from s2l.cli.recipes import is_recipe, recipe
from s2l.config import SelectSettings, Settings
from s2l.errors import SettingsError, printable, shown
from s2l.flags import FLAGS, explained, of_draw, validated, with_flags, with_preset

DRAW_FLAGS = tuple(flag for flag, path in FLAGS.items() if of_draw(path))
DEMO_FOLDER = Path("demo-run")
PAPERS_BUDGET = "11%"


@app.command(rich_help_panel="Main job")
@with_flags_of(tuple(FLAGS))
def run(
    pool: Pool, out: Out = None, preset: Preset = None, as_json: AsJson = False, *, given: Mapping[str, Any]
) -> None:
    """Read a pool, train a small proxy on it, and choose the part to train on."""
    values = with_flags(recipe(pool[0]) if is_recipe(pool) else {"pool": {"paths": pool}}, with_preset(preset, given))
    out = out or (Path(folder) if (folder := values.pop("out", None)) else None)
    values.pop("out", None)
    settings = validated(values)
    if out is None:
        raise SettingsError("--out FOLDER: say where the run and its subsets go")
    _run(settings, out, as_json)


@app.command(rich_help_panel="Main job")
@with_flags_of(tuple(FLAGS))
def plan(
    pool: Pool,
    target_params: Annotated[
        str | None,
        typer.Option("--target-params", metavar="TEXT", help="Parameters of the target: 7B, or several: 410M,7B."),
    ] = None,
    preset: Preset = None,
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """What `run` would take, measured on a sample in a minute or so: time, disk, memory, and what selecting saves."""
    from s2l.forecast.target import PAPERS, parse_parameters

    targets = tuple(map(parse_parameters, target_params.split(","))) if target_params else PAPERS
    values = with_flags(recipe(pool[0]) if is_recipe(pool) else {"pool": {"paths": pool}}, with_preset(preset, given))
    values.pop("out", None)
    if isinstance(values.setdefault("select", {}), dict):
        values["select"].setdefault("budgets", [PAPERS_BUDGET])
    settings = validated(values)
    with screen() as progress:
        from s2l.forecast.forecast import forecast

        found = forecast(settings, targets, progress)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
        return
    from s2l.report.forecast import print_forecast

    print_forecast(found, stdout)


@app.command(rich_help_panel="Main job")
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the demo's pool and run.")] = DEMO_FOLDER,
    as_json: AsJson = False,
) -> None:
    """The main job on a pool that s2l makes itself, with the built-in proxy; no network, about a minute."""
    from s2l.demo import write_demo_pool
    from s2l.files import written_whole

    pool = out / "pool.jsonl"
    if not pool.is_file():
        with written_whole(pool) as part:
            write_demo_pool(part)
    proxy = {"model": "builtin", "epochs": 6}
    select = {"budgets": [PAPERS_BUDGET], "with_random": True}
    settings = validated({"pool": {"paths": [str(pool)]}, "proxy": proxy, "select": select})
    _run(settings, out / "run", as_json)


@app.command(rich_help_panel="Main job")
@with_flags_of(DRAW_FLAGS)
def select(
    run: Run,
    preset: Preset = None,
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """Draw again from a run's recorded trajectories: another budget, method or seed, in seconds."""
    seed = _seed(given.get("seed"))
    given = with_preset(preset, given, DRAW_FLAGS)
    settings = _draw_settings(with_flags({}, {flag: value for flag, value in given.items() if flag != "seed"}))
    from s2l.pipeline import draw

    with screen() as progress:
        result = draw(run, settings, seed, progress)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    for subset in result["subsets"]:
        stdout.print(
            f"{subset['name']}: {subset['rows']:,} rows, {subset['tokens']:,} tokens\n"
            f"  {printable(str(run / subset['path']))}\n  selection_sha256 {subset['selection_sha256']}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _run(settings: Any, out: Path, as_json: bool) -> None:
    with screen() as progress:
        from s2l.pipeline import run as run_pipeline

        manifest = run_pipeline(settings, out, progress)
    if not manifest:
        return
    if as_json:
        typer.echo(json.dumps(manifest, indent=2))
        return
    from s2l.report.summary import print_summary

    print_summary(manifest, str(out), stdout)


def _draw_settings(values: Mapping[str, Any]) -> SelectSettings:
    try:
        return SelectSettings.model_validate(values.get("select", {}))
    except ValidationError as error:
        raise SettingsError(explained(error, "select.")) from None


def _seed(written: str | None) -> int | None:
    class Seed(Settings):
        seed: Annotated[int, Field(ge=0)] | None = None

    try:
        return Seed.model_validate({"seed": written}).seed
    except ValueError:
        raise SettingsError(f"--seed {shown(written)}: a whole number from 0") from None
