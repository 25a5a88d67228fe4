"""Packages that only some jobs need: how to install them, by their own names."""

from __future__ import annotations

import shlex
from importlib.metadata import PackageNotFoundError, requires


def to_install(extra: str) -> str:
    """The command for what the extra of pyproject.toml names, not by that name: the s2l of PyPI is another project."""
    try:
        named = [line.partition(";") for line in requires("s2l") or ()]
    except PackageNotFoundError:
        named = []
    wanted = sorted(name.strip() for name, _, when in named if f"extra == {extra!r}" in when.replace('"', "'"))
    return shlex.join(["pip", "install", *wanted]) if wanted else f"install the extra {extra} of its pyproject.toml"
