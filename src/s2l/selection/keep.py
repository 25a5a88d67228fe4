"""The file of ids that must be chosen: one id a line."""

from __future__ import annotations

import re
from pathlib import Path

from s2l.errors import SettingsError, printable, shown
from s2l.types import ID_LENGTH

ID = re.compile(rb"[0-9a-f]{%d}" % ID_LENGTH)


def read_keep(path: str | None) -> frozenset[bytes]:
    """The ids in the file, none without a file; blank lines are skipped, a line that is no id is a SettingsError."""
    if path is None:
        return frozenset()
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise SettingsError(f"--keep {printable(path)}: {error.strerror}") from None
    ids = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    for number, id_ in ids:
        if not ID.fullmatch(id_):
            raise SettingsError(
                f"{printable(path)}:{number}: {shown(id_.decode(errors='replace'))} is no id; "
                f"write ids of {ID_LENGTH} hex digits, one a line (column `id` of selection.parquet)"
            )
    return frozenset(id_ for _, id_ in ids)
