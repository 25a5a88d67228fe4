"""The shape of a pool's rows, recognised by the names of their columns: which column is which part of a row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from s2l.config import Format, PoolSettings
from s2l.errors import DataError, SettingsError, printable, shown

PROMPTS = ("instruction", "prompt", "question", "problem", "query", "input")
RESPONSES = ("output", "response", "completion", "answer", "solution")
MASKS = ("completion_mask", "loss_mask", "assistant_masks")
REQUIRED: dict[Format, tuple[str, ...]] = {
    "instruction": ("prompt", "response"),
    "pair": ("prompt", "response"),
    "messages": ("messages",),
    "conversations": ("conversations",),
    "text": ("text",),
    "tokenized": ("input_ids",),
}
OPTIONAL: dict[Format, tuple[str, ...]] = {
    "instruction": ("input", "system", "history"),
    "pair": ("system", "history"),
    "messages": ("system", "tools"),
    "conversations": ("system", "tools"),
    "text": (),
    "tokenized": ("labels", "mask"),
}
PARTS = tuple(dict.fromkeys(part for parts in (*REQUIRED.values(), *OPTIONAL.values()) for part in parts))
FORMAT_OF_PART: dict[str, Format] = {
    part: format_ for format_, parts in REQUIRED.items() if format_ != "instruction" for part in parts
}
SOURCE = "source"
MOST_LISTED = 20


@dataclass(frozen=True)
class Layout:
    """Which column holds which part.

    columns: part → column, also of optional parts under their usual name, which rows may have or lack.
    """

    format: Format
    columns: Mapping[str, str]
    source_column: str = SOURCE

    def cell(self, row: Mapping[str, Any], part: str) -> Any:
        """The row's value for this part; None where it has none."""
        column = self.columns.get(part)
        return None if column is None else row.get(column)

    @property
    def required_columns(self) -> tuple[str, ...]:
        """The columns of which every row must have one."""
        return tuple(self.columns[part] for part in REQUIRED[self.format])

    def present(self, columns: Collection[str]) -> dict[str, str]:
        """Part → column, of the parts that these columns hold."""
        return {part: column for part, column in self.columns.items() if column in columns}

    def describe(self, columns: Collection[str]) -> str:
        """One line for a person: the format, the columns it reads and those it does not."""
        present = self.present(columns)
        read = ", ".join(column if column == part else f"{part}={column}" for part, column in present.items())
        unread = [column for column in columns if column not in present.values() and column != self.source_column]
        source = self.source_column if self.source_column in columns else "none"
        line = f"format: {self.format} ({read}), source column: {source}"
        return printable(line) + (f"; columns not read: {listed(unread)}" if unread else "")


def recognise(columns: Sequence[str], settings: PoolSettings, name: str = "pool") -> Layout:
    """The layout of rows that have these columns.

    Raises DataError, listing the candidates and the flag that settles it, where none or several fit.
    """
    given = settings.columns
    if unknown := [part for part in given if part not in PARTS]:
        raise SettingsError(f"--columns {shown(unknown[0])}: no such part of a row; there are: {', '.join(PARTS)}")
    format_ = settings.format if settings.format != "auto" else _format_of(columns, given, name)
    parts = REQUIRED[format_] + OPTIONAL[format_]
    if strange := [part for part in given if part not in parts]:
        raise SettingsError(f"--columns {strange[0]}: format {format_} has the parts {', '.join(parts)}")
    chosen = _required(format_, columns, given, name) | _optional(format_, columns, given, name)
    return Layout(format_, chosen, settings.source_column or SOURCE)


def no_column(column: str, columns: Iterable[str]) -> str:
    """What to say of a named column that no row has."""
    names = list(columns)
    close = get_close_matches(column, names, 1)
    meant = f" (did you mean {shown(close[0])}?)" if close else ""
    return f"no row has a column {shown(column)}{meant}; there are: {listed(names)}"


def listed(names: Sequence[str]) -> str:
    """Names in one line, the first twenty of them."""
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(shown(name)[1:-1] for name in names[:MOST_LISTED]) + more


def _format_of(columns: Sequence[str], given: Mapping[str, str], name: str) -> Format:
    candidates = {FORMAT_OF_PART[part]: part for part in given if part in FORMAT_OF_PART}
    if not candidates:
        if {"chosen", "rejected"} <= set(columns):
            raise DataError(
                f"{name}: preference rows (chosen, rejected), not rows to fine-tune on; to train on one side say "
                "--columns prompt=prompt,response=chosen, or if it holds messages --columns messages=chosen"
            )
        candidates = {FORMAT_OF_PART[part]: part for part in FORMAT_OF_PART if part in columns}
        candidates.pop("pair", None)
        if any(c in columns for c in PROMPTS) and any(c in columns for c in RESPONSES):
            candidates["pair"] = "response"
    if not candidates:
        raise DataError(
            f"{name}: no known shape in the columns {listed(columns)}; wanted one of {', '.join(PROMPTS)} with one of "
            f"{', '.join(RESPONSES)}; or messages, conversations, text, input_ids; or --columns prompt=…,response=…"
        )
    if len(candidates) > 1:
        raise DataError(f"{name}: the rows fit several formats: {', '.join(candidates)}; choose one with --format")
    found = next(iter(candidates))
    prompt = given.get("prompt", "instruction" if "instruction" in columns else None)
    return "instruction" if found == "pair" and (prompt == "instruction" or "input" in given) else found


def _required(format_: Format, columns: Sequence[str], given: Mapping[str, str], name: str) -> dict[str, str]:
    candidates = {
        part: [given[part]] if part in given else _candidates(part, format_, columns, given)
        for part in REQUIRED[format_]
    }
    for part, found in candidates.items():
        if not found:
            raise DataError(
                f"{name}: no column for the {part}; there are: {listed(columns)}; name it: --columns {part}=…"
            )
        if found[0] not in columns:
            raise DataError(f"{name}: --columns {part}={printable(found[0])}: {no_column(found[0], columns)}")
    if any(len(found) > 1 for found in candidates.values()):
        sides = "; ".join(f"{part}: {' or '.join(found)}" for part, found in candidates.items() if len(found) > 1)
        flag = ",".join(f"{part}={found[0]}" for part, found in candidates.items())
        raise DataError(f"{name}: several columns could be the {sides}; settle it, for example --columns {flag}")
    return {part: found[0] for part, found in candidates.items()}


def _candidates(part: str, format_: Format, columns: Sequence[str], given: Mapping[str, str]) -> list[str]:
    usual = {"prompt": PROMPTS, "response": RESPONSES}.get(part, (part,))
    found = [column for column in usual if column in columns and column not in given.values()]
    if part == "prompt" and format_ == "instruction" and len(found) > 1 and "input" in found:
        found.remove("input")
    return found


def _optional(format_: Format, columns: Sequence[str], given: Mapping[str, str], name: str) -> dict[str, str]:
    if format_ == "tokenized":
        return _counted(columns, given, name)
    usual = {part: part for part in OPTIONAL[format_] if part not in given.values()}
    return usual | {part: given[part] for part in OPTIONAL[format_] if part in given}


def _counted(columns: Sequence[str], given: Mapping[str, str], name: str) -> dict[str, str]:
    named = {part: given[part] for part in ("labels", "mask") if part in given}
    if len(named) == 2:
        raise SettingsError("--columns labels=…,mask=…: give one of them")
    for part, column in named.items():
        if column not in columns:
            raise DataError(f"{name}: --columns {part}={printable(column)}: {no_column(column, columns)}")
    if named:
        return named
    if "labels" in columns:
        return {"labels": "labels"}
    masks = [column for column in MASKS if column in columns]
    if len(masks) > 1:
        raise DataError(f"{name}: several masks: {', '.join(masks)}; choose one: --columns mask={masks[0]}")
    return {"mask": masks[0]} if masks else {}
