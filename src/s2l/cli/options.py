"""Settings → options of a verb, with their help; what was typed → values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import ValidationError

from s2l.config import Settings
from s2l.errors import S2LError, SettingsError, shown
from s2l.flags import FLAGS, PRESETS, field_of, pairs

AnySettings = TypeVar("AnySettings", bound=Settings)
SEVERAL = {**dict.fromkeys(("columns", "where", "set"), "NAME=VALUE"), "model": "TARGET"}
"""Flags that may be repeated, and what each is given."""

Pool = Annotated[
    list[str],
    typer.Argument(metavar="POOL...", help="Files or URLs, a saved datasets folder, a hub id; or a recipe (.yaml)."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run; the same again goes on where it stopped.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="|".join(PRESETS),
        help="Settings at once, which other flags override; authors: what the authors' code does.",
        rich_help_panel="Selection",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]


def with_flags_of(names: tuple[str, ...], **defaults: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb one option per named flag, its help from the settings; the verb gets `given`: flag → value.

    defaults: what the help says of flags for which the verb has defaults of its own.
    """
    fields = {flag: field_of(FLAGS[flag]) for flag in names}
    return _with_options(
        {flag: _option(flag, field, _panel(flag), defaults.get(flag, field.default)) for flag, field in fields.items()}
    )


def with_fields_of(settings: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same for settings of the verb's own, a flag for each."""
    flags = {name.replace("_", "-"): field for name, field in settings.model_fields.items()}
    return _with_options({flag: _option(flag, field, None, field.default) for flag, field in flags.items()})


def from_fields(settings: type[AnySettings], given: Mapping[str, Any]) -> AnySettings:
    """The settings that the flags of `with_fields_of` ask for; SettingsError names the first flag that cannot be."""
    try:
        return settings.model_validate({flag.replace("-", "_"): value for flag, value in given.items()})
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(mistake := first.get("ctx", {}).get("error"), S2LError):
            raise mistake from None
        flag = str(first["loc"][0]).replace("_", "-")
        raise SettingsError(f"--{flag} {shown(first['input'])}: {first['msg']}") from None


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


def _option(flag: str, field: Any, panel: str | None, default: Any) -> inspect.Parameter:
    name = flag.replace("-", "_")
    kind: Any
    if field.annotation is bool:
        kind, metavar = bool | None, None
        declaration = f"--{flag}/--no-{flag}"
    else:
        kind, metavar = (list[str] | None if flag in SEVERAL else str | None), _metavar(flag, field.annotation)
        declaration = f"--{flag}"
    text = field.description + (
        f" (default: {default})" if default not in (None, False, ()) and flag != "budget" else ""
    )
    option = typer.Option(declaration, help=text, metavar=metavar, rich_help_panel=panel, show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


def _metavar(flag: str, annotation: Any) -> str:
    if flag in SEVERAL:
        return SEVERAL[flag]
    for one in (annotation, *get_args(annotation)):  # X | None too
        if get_origin(one) is Literal:
            return "|".join(get_args(one))
    text = str(annotation)
    return "N" if "int" in text else "X" if "float" in text else "TEXT"


def _parsed(flag: str, value: Any) -> Any:
    if flag == "columns":
        return pairs(flag, value, separator=",")
    if flag in {"where", "set"}:
        return pairs(flag, value)
    return [part.strip() for part in value.split(",")] if flag == "budget" else value
