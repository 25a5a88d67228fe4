"""A recipe, or the manifest of a run → settings by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from s2l.data.url import is_url, without_secrets
from s2l.errors import SettingsError, printable, shown


def is_recipe(pool: list[str]) -> bool:
    """Whether the pool that was named is a recipe."""
    return (
        len(pool) == 1
        and not is_url(pool[0])
        and (pool[0].endswith((".yaml", ".yml")) or Path(pool[0]).name == "manifest.json")
    )


def recipe(path: str) -> dict[str, Any]:
    """The settings in a recipe, or in the manifest of a run; SettingsError for what is neither."""
    without_secrets(path)
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
