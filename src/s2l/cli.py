"""The command line: flags and recipes → settings, one verb per job, one line per mistake."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
import yaml
from pydantic import Field, ValidationError
from rich.console import Console

from s2l import __version__
from s2l.config import SelectSettings, Settings
from s2l.errors import S2LError, SettingsError, printable, shown
from s2l.flags import FLAGS, explained, field_of, pairs, validated, with_flags
from s2l.theory.settings import VerifySettings

DRAW_FLAGS = tuple(flag for flag, path in FLAGS.items() if path.startswith("select.") or path == "seed")
DEMO_FOLDER = Path("demo-run")
PAPERS_BUDGET = "11%"
STOPPED = 130
SEVERAL = {**dict.fromkeys(("columns", "where", "set"), "NAME=VALUE"), "model": "TARGET"}
"""Flags that may be repeated, and what each is given."""

app = typer.Typer(
    name="s2l",
    help="Which part of my fine-tuning data should I train on? Chosen by the loss trajectories of a small proxy model.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
stderr = Console(stderr=True)
stdout = Console(width=None if sys.stdout.isatty() else 120)


def main() -> None:
    """Run the command line; a mistake is one line on stderr and a documented exit code, never a traceback."""
    # On a busy machine threads that spin while they wait make every step several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        if code == STOPPED:  # typer's answer to Ctrl-C
            _say("stopped; the same command goes on from here")
        sys.exit(code)
    except S2LError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except typer.TyperException as error:
        _say(f"error: {error.format_message()} (s2l --help)")
        sys.exit(SettingsError.exit_code)
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        _say(f"error: {error.filename or 'the machine'}: {error.strerror}; nothing is lost: run the same command again")
        sys.exit(6)


def _say(line: str) -> None:
    if os.environ.get("RANK", "0") != "0":  # of a launcher's processes the first one speaks for all
        return
    stderr.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _with_flags_of(names: tuple[str, ...]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb one option per named flag, its help from the settings; the verb gets `given`: flag → value."""
    return _with_options({flag: _option(flag, field_of(FLAGS[flag]), _panel(flag)) for flag in names})


def _with_fields_of(settings: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same for settings of the verb's own, a flag for each."""
    flags = {name.replace("_", "-"): field for name, field in settings.model_fields.items()}
    return _with_options({flag: _option(flag, field, None) for flag, field in flags.items()})


def _with_options(options: Mapping[str, inspect.Parameter]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(verb, eval_str=True).parameters.values() if p.name != "given"]

        def called(**values: Any) -> None:
            given = {flag: value for flag in options if (value := values.pop(flag.replace("-", "_"))) not in (None, [])}
            verb(**values, given={flag: _parsed(flag, value) for flag, value in given.items()})

        parameters = [*own, *options.values()]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        called.__doc__, called.__name__ = verb.__doc__, verb.__name__
        return called

    return decorate


def _panel(flag: str) -> str:
    group = FLAGS[flag].partition(".")[0]
    return {"pool": "Pool", "tokens": "Tokens", "proxy": "Proxy"}.get(group, "Selection")


def _option(flag: str, field: Any, panel: str | None) -> inspect.Parameter:
    name = flag.replace("-", "_")
    kind: Any
    if field.annotation is bool:
        kind, metavar = bool | None, None
        declaration = f"--{flag}/--no-{flag}"
    else:
        kind, metavar = (list[str] | None if flag in SEVERAL else str | None), _metavar(flag, field.annotation)
        declaration = f"--{flag}"
    default = field.default
    text = field.description + (
        f" (default: {default})" if default not in (None, False, ()) and flag != "budget" else ""
    )
    option = typer.Option(declaration, help=text, metavar=metavar, rich_help_panel=panel, show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


def _metavar(flag: str, annotation: Any) -> str:
    if flag in SEVERAL:
        return SEVERAL[flag]
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    text = str(annotation)
    return "N" if "int" in text else "X" if "float" in text else "TEXT"


def _parsed(flag: str, value: Any) -> Any:
    if flag == "columns":
        return pairs(flag, value, separator=",")
    if flag in {"where", "set"}:
        return pairs(flag, value)
    return [part.strip() for part in value.split(",")] if flag == "budget" else value


Pool = Annotated[
    list[str], typer.Argument(metavar="POOL...", help="Files, a saved datasets folder, a hub id; or a recipe (.yaml).")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; the same again goes on where it stopped.")]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]


@app.command(rich_help_panel="Main job")
@_with_flags_of(tuple(FLAGS))
def run(pool: Pool, out: Out = None, as_json: AsJson = False, *, given: Mapping[str, Any]) -> None:
    """Read a pool, train a small proxy on it, and choose the part to train on."""
    values = with_flags(_recipe(pool[0]) if _is_recipe(pool) else {"pool": {"paths": pool}}, given)
    out = out or (Path(folder) if (folder := values.pop("out", None)) else None)
    values.pop("out", None)
    settings = validated(values)
    if out is None:
        raise SettingsError("--out FOLDER: say where the run and its subsets go")
    _run(settings, out, as_json)


@app.command(rich_help_panel="Main job")
@_with_flags_of(tuple(FLAGS))
def plan(
    pool: Pool,
    target_params: Annotated[
        str | None,
        typer.Option("--target-params", metavar="TEXT", help="Parameters of the target: 7B, or several: 410M,7B."),
    ] = None,
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """What `run` would take, measured on a sample in a minute or so: time, disk, memory, and what selecting saves."""
    from s2l.forecast.target import PAPERS, parse_parameters

    targets = tuple(map(parse_parameters, target_params.split(","))) if target_params else PAPERS
    values = with_flags(_recipe(pool[0]) if _is_recipe(pool) else {"pool": {"paths": pool}}, given)
    values.pop("out", None)
    if isinstance(values.setdefault("select", {}), dict):
        values["select"].setdefault("budgets", [PAPERS_BUDGET])
    settings = validated(values)
    with _screen() as screen:
        from s2l.forecast.forecast import forecast

        found = forecast(settings, targets, screen)
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
@_with_flags_of(DRAW_FLAGS)
def select(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """Draw again from a run's recorded trajectories: another budget, method or seed, in seconds."""
    seed = _seed(given.get("seed"))
    settings = _draw_settings(with_flags({}, {flag: value for flag, value in given.items() if flag != "seed"}))
    from s2l.pipeline import draw

    with _screen() as screen:
        result = draw(run, settings, seed, screen)
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


@app.command(rich_help_panel="Main job")
@_with_flags_of(("budget",))
def compare(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
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

    with _screen() as screen:
        found = compare(run, budgets[0], names, settings, seeds=seeds, embeddings=embeddings, progress=screen)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from s2l.report.comparison import print_comparison

    print_comparison(found, stdout)


@app.command(rich_help_panel="Main job")
@_with_fields_of(VerifySettings)
def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    as_json: AsJson = False,
    *,
    given: Mapping[str, Any],
) -> None:
    """S2L's theory, measured: do clusters share gradients, is the subset's mean gradient the pool's?"""
    asked = _verify_settings({flag.replace("-", "_"): value for flag, value in given.items()})
    from s2l.theory.verify import verify

    with _screen() as screen:
        found = verify(run, asked, screen)
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


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"s2l {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Flags of s2l itself."""
    del version


def _run(settings: Any, out: Path, as_json: bool) -> None:
    with _screen() as screen:
        from s2l.pipeline import run as run_pipeline

        manifest = run_pipeline(settings, out, screen)
    if not manifest:
        return
    if as_json:
        typer.echo(json.dumps(manifest, indent=2))
        return
    from s2l.report.summary import print_summary

    print_summary(manifest, str(out), stdout)


@contextmanager
def _screen() -> Iterator[Any]:
    from s2l.report.screen import Screen

    yield Screen(stderr)


def _is_recipe(pool: list[str]) -> bool:
    return len(pool) == 1 and (pool[0].endswith((".yaml", ".yml")) or Path(pool[0]).name == "manifest.json")


def _recipe(path: str) -> dict[str, Any]:
    """The settings in a recipe, or in the manifest of a run."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        value = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except OSError as error:
        raise SettingsError(f"{printable(path)}: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise SettingsError(f"{printable(path)}:{error.lineno}: not valid JSON") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f":{line + 1}" if line is not None else ""
        raise SettingsError(f"{printable(path)}{where}: not valid YAML") from None
    if isinstance(value, dict) and "settings" in value and "s2l" in value:
        value = value["settings"]
    if not isinstance(value, dict):
        raise SettingsError(f"{printable(path)}: a recipe holds settings by name, not {shown(value)}")
    return value


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
