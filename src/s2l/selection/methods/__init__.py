"""The selection methods: one file each, found by its name; a file offers `Settings`, `plan` and `cost`."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from s2l import config
from s2l.errors import SettingsError, shown
from s2l.progress import Progress
from s2l.selection.cost import Cost
from s2l.types import Plan, Recorded

PlanFunction = Callable[[Recorded, Any, int, Progress], Plan]
"""(recorded, settings, seed, progress) → a group and a score for every row; SettingsError for what cannot be met."""
CostFunction = Callable[[Any, tuple[int, ...]], Cost]
"""(settings, steps of the checkpoints) → what the scores cost."""


@dataclass(frozen=True)
class Method:
    """One way to choose. name: of its file, with `-` for `_`. summary: first line of its docstring."""

    name: str
    summary: str
    settings: type[config.Settings]
    plan: PlanFunction
    cost: CostFunction

    def parse(self, options: Mapping[str, Any]) -> config.Settings:
        """Its settings from `--set name=value` or a recipe; raises SettingsError listing what would be right."""
        try:
            return self.settings.model_validate(dict(options))
        except ValidationError as error:
            raise SettingsError(self._explained(error)) from None

    def _explained(self, error: ValidationError) -> str:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            there = ", ".join(self.settings.model_fields) or "none"
            return f"method {self.name} has no setting {shown(name)}; there are: {there}"
        return f"method {self.name}: {name}={shown(first['input'])}: {first['msg']}"


@cache
def methods() -> dict[str, Method]:
    """All methods by name, in alphabetical order."""
    found = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = import_module(f"{__name__}.{info.name}")
        name = info.name.replace("_", "-")
        found[name] = Method(name, (module.__doc__ or "").partition("\n")[0], module.Settings, module.plan, module.cost)
    return found


def get(name: str) -> Method:
    """The method of that name; raises SettingsError listing the methods there are."""
    if name not in methods():
        raise SettingsError(f"no selection method {shown(name)}; there are: {', '.join(methods())}")
    return methods()[name]
