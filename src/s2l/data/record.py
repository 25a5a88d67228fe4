"""One record of a file, where it stands, and the JSON object it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from s2l.errors import shown

CONTEXT = 20


@dataclass(frozen=True, slots=True)
class Record:
    """One row as stored.

    row: record number in its file, from 0. line: where it starts, from 1 (JSONL, CSV), else the record number.
    raw: JSONL, CSV: the exact bytes but the final `\\n` (a `\\r` stays); JSON: the element's exact slice; else None.
    problem: why there is no `value`, on one line, the offending bytes included.
    """

    row: int
    line: int
    value: dict[str, Any] | None
    raw: bytes | None = None
    problem: str | None = None


Placed = Iterator[tuple[int, Record]]
"""Records of several files, each with its file's index."""


def decode_object(raw: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """The JSON object in `raw`, or what is wrong with it; of equal keys the last wins."""
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return None, not_utf8(raw, error)
    except json.JSONDecodeError as error:
        near = error.doc[max(0, error.pos - CONTEXT) :]
        return None, f"malformed JSON ({error.msg}, character {error.pos + 1}) near {shown(near)}"
    except RecursionError:
        return None, f"JSON nested too deeply: {shown(raw.decode())}"
    except ValueError:
        return None, f"JSON with a number of too many digits: {shown(raw.decode())}"
    if not isinstance(value, dict):
        return None, f"not a JSON object {{…}}: {shown(raw.decode())}"
    return value, None


def not_utf8(raw: bytes, error: UnicodeDecodeError) -> str:
    """What to say of bytes that are not UTF-8."""
    near = raw[max(0, error.start - CONTEXT) : error.start + CONTEXT]
    return f"not UTF-8 at byte {error.start + 1}: {shown(near.decode('utf-8', 'backslashreplace'))}"
