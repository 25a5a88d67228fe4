"""OUT/recipe.json: what an experiment's folder is for; one process at a time, refused for what would not compare."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from s2l import __version__
from s2l.config import BUILTIN
from s2l.errors import RunFolderError, printable, shown
from s2l.experiment.recipe import ExperimentSettings
from s2l.files import read_record, write_json
from s2l.run_folder import MANIFEST, locked

RECIPE = "recipe.json"
NAMED = ("proxies", "recorded", "targets")
"""What goes by a name, as methods do by their labels: more may be added; a name goes on to mean what it meant."""
MADE = {
    "methods": ("draws/{}", "cells/*/{}"),
    "proxies": ("proxies/{}-seed-*", "models/proxy-{}"),
    "recorded": ("proxies/{}-seed-*",),
    "targets": ("cells/{}", "starts/{}", "models/target-{}"),
}
"""What is made under a name of each kind."""
FREE = frozenset({"title", "note", "methods", "blocks", "seeds", *NAMED})
"""What may change while cells are there."""
RUNNING = frozenset({"device", "threads", "processes", "rows_at_once", "resume_points", "report_to", "batch_tokens"})
"""Of no consequence for what is compared, but for the last bits."""


@contextmanager
def claimed(settings: ExperimentSettings, out: Path) -> Iterator[None]:
    """Hold the folder for this recipe.

    RunFolderError where it was made by a recipe with other data, with other methods or models of the same name, or
    another primary outcome: that is named beforehand. Methods, models, budgets and seeds may be added.
    """
    path, asked = out / RECIPE, settings.model_dump(mode="json")
    meant, inputs = _meant(asked), _inputs(settings)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        if path.is_file():
            before = read_record(path)
            _same(before, asked, out)
            meant = {kind: _added(named, meant[kind]) for kind, named in before["named"].items()}
            _unchanged(before["inputs"], inputs, out)
            inputs = before["inputs"] | inputs
        elif foreign := sorted(file.name for file in out.iterdir() if not file.name.startswith(".")):
            raise RunFolderError(f"{out}: holds other files, such as {shown(foreign[0])}; use another --out")
        write_json(path, {"s2l": __version__, "settings": asked, "named": meant, "inputs": inputs})
        yield


def _inputs(settings: ExperimentSettings) -> dict[str, str]:
    """Digests of the files and models that cells rest on; those of a pool that is split stand with its parts."""
    from s2l.target.evaluate import digests, digests_of

    pool = settings.pool.paths if settings.split is None else ()
    options = [str(value) for method in settings.methods for value in method.set.values()]
    models = [str(target.model) for target in settings.targets.values()]
    models += [proxy.model for proxy in settings.proxies.values()]
    folders = [name for name in models if name != BUILTIN and Path(name).is_dir()]
    recorded = [str(Path(run) / MANIFEST) for runs in settings.recorded.values() for run in runs]
    tokenizer = filter(None, [settings.tokens.tokenizer])
    read = digests_of([*pool, *tokenizer, *filter(os.path.isfile, options), *folders, *recorded])
    return digests(settings.evaluate.model_copy(update={"heldout": settings.heldout})) | read


def _unchanged(before: dict[str, str], now: dict[str, str], out: Path) -> None:
    if changed := [name for name in before if name in now and before[name] != now[name]]:
        raise RunFolderError(
            f"{printable(str(out))}: {printable(changed[0])} has changed since its first cell; use another --out"
        )


def check_claim(settings: ExperimentSettings, out: Path) -> None:
    """RunFolderError where the folder is no experiment's, or one of another recipe; nothing is locked or written."""
    if not (out / RECIPE).is_file():
        raise RunFolderError(f"{printable(str(out))}: no experiment of s2l (no {RECIPE} in it)")
    _same(read_record(out / RECIPE), settings.model_dump(mode="json"), out)


def _meant(asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What each name of the recipe stands for."""
    by_label = {method["label"]: method for method in asked["methods"]}
    return {"methods": by_label, **{kind: asked[kind] for kind in NAMED}}


def _added(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What names stand for by both recipes; of runs that were added to, all of them."""
    longer = {
        name: were for name, were in before.items() if isinstance(were, list) and len(were) > len(now.get(name, ()))
    }
    return before | now | longer


def _is_another(before: Any, now: Any) -> bool:
    """Whether a name stands for something else now; runs may be added at the end of a list of them."""
    if isinstance(before, list):
        both = min(len(before), len(now))
        before, now = before[:both], now[:both]
    return bool(_fixed(before) != _fixed(now))


def _is_made(kind: str, name: str, out: Path) -> bool:
    """Whether anything was made under the name; until then it may come to stand for something else."""
    return any(next(out.glob(pattern.format(name)), None) is not None for pattern in MADE[kind])


def _same(before: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    made = {name: ExperimentSettings.model_fields[name].default for name in now} | before["settings"]
    differing = [name for name in sorted({*made, *now} - FREE) if _fixed(made.get(name)) != _fixed(now.get(name))]
    for kind, named in _meant(now).items():
        were = before["named"][kind]
        others = [name for name in named if name in were and _is_another(were[name], named[name])]
        differing += [f"{kind}.{name}" for name in others if _is_made(kind, name, out)]
    if differing:
        raise RunFolderError(
            f"{printable(str(out))}: made by a recipe with another {', '.join(differing)}; use another --out"
        )


def _fixed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _fixed(of) for name, of in value.items() if name not in RUNNING}
    return value
