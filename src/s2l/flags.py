"""Command-line flags ↔ settings: one table, so that flags, recipes and the command that repeats a run agree."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from s2l.config import WITHOUT_WEIGHTS, RunSettings
from s2l.errors import S2LError, SettingsError, shown

FLAGS: Mapping[str, str] = {
    "format": "pool.format",
    "columns": "pool.columns",
    "source-column": "pool.source_column",
    "where": "pool.where",
    "config": "pool.config",
    "split": "pool.split",
    "dataset-revision": "pool.revision",
    "repeats": "pool.repeats",
    "bad-rows": "pool.bad_rows",
    "template": "tokens.template",
    "max-length": "tokens.max_length",
    "tokenizer": "tokens.tokenizer",
    "proxy": "proxy.model",
    "proxy-revision": "proxy.revision",
    "checkpoints": "proxy.checkpoints",
    "initial-checkpoint": "proxy.initial_checkpoint",
    "epochs": "proxy.epochs",
    "learning-rate": "proxy.learning_rate",
    "batch-size": "proxy.batch_size",
    "warmup": "proxy.warmup",
    "weight-decay": "proxy.weight_decay",
    "precision": "proxy.precision",
    "layers": "proxy.layers",
    "width": "proxy.width",
    "vocabulary": "proxy.vocabulary",
    "device": "proxy.device",
    "threads": "proxy.threads",
    "processes": "proxy.processes",
    "batch-tokens": "proxy.batch_tokens",
    "budget": "select.budgets",
    "method": "select.method",
    "set": "select.options",
    "with-random": "select.with_random",
    "keep": "select.keep",
    "balance": "select.balance",
    "seed": "seed",
    "examples": "examples",
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "authors": {
        "template": "alpaca",
        "method": "s2l",
        "balance": "source",
        "set": {"inside": "source", "start": "random", "sample": 256, "iterations": 21, "small": "last"},
    },
}
"""Flags set at once, and what `--set` is given; docs/authors.md says why each."""
HOW_TO_SCORE = frozenset({"precision", "device", "threads", "processes", "batch_tokens"})
_FLAG_OF = {path: flag for flag, path in FLAGS.items()}


def flag_of(path: str) -> str:
    """What a person writes for the setting at the dotted `path`."""
    return f"--{_FLAG_OF[path]}" if path in _FLAG_OF else path


def field_of(path: str, model: type[BaseModel] = RunSettings) -> Any:
    """The pydantic field at the dotted `path`: its type, default and description."""
    head, _, rest = path.partition(".")
    field = model.model_fields[head]
    return field_of(rest, field.annotation) if rest else field  # type: ignore[arg-type]


def pairs(flag: str, written: Iterable[str], separator: str | None = None) -> dict[str, str]:
    """`name=value` texts as a dict; SettingsError for one without `=`."""
    texts = [part for text in written for part in (text.split(separator) if separator else [text])]
    for text in texts:
        if "=" not in text:
            raise SettingsError(f"--{flag} {shown(text)}: write name=value")
    return {name.strip(): value for name, _, value in (text.partition("=") for text in texts)}


def with_flags(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's settings with those of the flags given (flag → value) laid over them."""
    merged = {name: dict(value) if isinstance(value, Mapping) else value for name, value in recipe.items()}
    for flag, value in given.items():
        *groups, name = FLAGS[flag].split(".")
        target = merged
        for group in groups:
            target = target.setdefault(group, {})
            if not isinstance(target, dict):
                raise SettingsError(f"recipe: {shown(group)} must hold settings by name")
        target[name] = value
    return merged


def with_preset(name: str | None, given: Mapping[str, Any], known: Iterable[str] = FLAGS) -> dict[str, Any]:
    """The flags of the preset that the verb knows, with those given laid over them; one by one inside `--set`.

    Raises SettingsError for a preset that is not there, or whose method is not the one given.
    """
    if name is None:
        return dict(given)
    if name not in PRESETS:
        raise SettingsError(f"no preset {shown(name)}; there are: {', '.join(PRESETS)}")
    preset = {flag: value for flag, value in PRESETS[name].items() if flag in known}
    if (method := given.get("method", preset["method"])) != preset["method"]:
        raise SettingsError(f"--preset {name} is of method {preset['method']}: leave out --method {shown(method)}")
    return {**preset, **given, "set": {**preset["set"], **given.get("set", {})}}


def validated(values: Mapping[str, Any]) -> RunSettings:
    """The settings, checked; SettingsError is one line with the flag, the value and what would be right."""
    try:
        return RunSettings.model_validate(dict(values))
    except ValidationError as error:
        raise SettingsError(explained(error)) from None


def explained(error: ValidationError, prefix: str = "") -> str:
    """The first of pydantic's complaints as one line; `prefix`: the path of the settings it is about."""
    first = error.errors()[0]
    if isinstance(mistake := first.get("ctx", {}).get("error"), S2LError):
        return str(mistake)
    path = prefix + ".".join(
        str(part) for part in first["loc"] if not isinstance(part, int) and str(part) not in {"int", "str"}
    )
    name = flag_of(path)
    if first["type"] == "extra_forbidden":
        return f"no setting {shown(path)}; look it up with s2l run --help"
    if first["type"] == "missing":
        budget = "say how much: --budget 11%"
        missing = {"--budget": budget, "select": budget, "pool": "name the pool", "pool.paths": "name the pool"}
        return missing.get(name, f"{name} is missing")
    return f"{name} {shown(first['input'])}: {first['msg']}"


def command(settings: RunSettings, out: str) -> str:
    """The shell commands that make this run, naming every setting that is not its default.

    Of a run that was recorded during a training of one's own it is the one that draws from it.
    """
    if settings.proxy.model in WITHOUT_WEIGHTS:
        return draw_command(settings, out)
    recorded, added = settings.recorded or (), settings.added or ()
    first = len(settings.pool.paths) - sum(added)
    words = ["s2l", "record" if recorded else "run", *settings.pool.paths[:first]]
    words += [word for named in recorded for word in ("--checkpoints", named)]
    words += _flags(settings, [path for path in FLAGS.values() if not recorded or of_record(path)])
    lines = [shlex.join([*words, "--out", out])]
    for count in added:
        files = [word for path in settings.pool.paths[first : first + count] for word in ("--add", path)]
        lines.append(shlex.join(["s2l", "record", out, *files]))
        first += count
    return " && ".join(lines)


def draw_command(settings: RunSettings, out: str) -> str:
    """The shell command that draws from the run in the folder `out`."""
    return shlex.join(["s2l", "select", out, *_flags(settings, filter(of_draw, FLAGS.values()))])


def subset_command(made: RunSettings, drawn: RunSettings, out: str) -> str:
    """The shell commands that make a run, and draw this subset of it: one, where the run draws it itself."""
    if made.recorded or made.added:
        return f"{command(made, out)} && {draw_command(drawn, out)}"
    return command(drawn, out)


def _flags(settings: RunSettings, paths: Iterable[str]) -> list[str]:
    """The settings at these dotted paths that are not their defaults, as flags."""
    words: list[str] = []
    for path in paths:
        value: Any = settings
        for name in path.split("."):
            value = getattr(value, name)
        if value != field_of(path).get_default(call_default_factory=True):
            words += _written(_FLAG_OF[path], value)
    return words


def of_record(path: str) -> bool:
    """Whether the setting at the dotted `path` is one of `s2l record`."""
    return path.partition(".")[0] not in {"proxy", "select"} or path.partition(".")[2] in HOW_TO_SCORE


def of_draw(path: str) -> bool:
    """Whether the setting at the dotted `path` is one of `s2l select`."""
    return path.startswith("select.") or path == "seed"


def _written(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{flag}"] if value else [f"--no-{flag}"]
    if isinstance(value, dict):
        return [word for name, part in value.items() for word in (f"--{flag}", f"{name}={part}")]
    if isinstance(value, tuple):
        return [f"--{flag}", ",".join(value)]
    return [f"--{flag}", str(value)]
