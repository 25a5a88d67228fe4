"""`--where column=value`: which rows are read at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from s2l.data.formats import listed, no_column
from s2l.data.record import Placed
from s2l.errors import DataError, printable

MOST_VALUES = 10


def cell_text(value: Any) -> str:
    """What a condition is compared with: the string itself, else the JSON text of the cell."""
    try:
        return value if isinstance(value, str) else json.dumps(value, default=str)
    except RecursionError:
        return ""


@dataclass
class Filter:
    """Lets through the rows that meet every condition, and remembers what it saw of the others.

    conditions: column → value. values: of each condition's column, the first ten. columns: of the first row skipped.
    """

    conditions: Mapping[str, str]
    skipped: int = 0
    values: dict[str, dict[str, None]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    def admit(self, records: Placed) -> Placed:
        """The records that meet the conditions, and those too malformed to tell."""
        for file, record in records:
            if record.value is None or self._holds(record.value):
                yield file, record
            else:
                self.columns = self.columns or tuple(record.value)
                self.skipped += 1

    def check(self, name: str) -> None:
        """After the last record: raises DataError for a condition on a column that no row had."""
        for column, wanted in self.conditions.items():
            if column not in self.values:
                raise DataError(f"{name}: --where {self._flag(column, wanted)}: {no_column(column, self.columns)}")

    def none_left(self, name: str) -> DataError:
        """The error for a pool without rows."""
        if not self.skipped:
            return DataError(f"{name}: the pool holds no rows")
        self.check(name)
        flags = ",".join(self._flag(*condition) for condition in self.conditions.items())
        values = "; ".join(f"{printable(column)}: {listed(list(seen))}" for column, seen in self.values.items())
        return DataError(f"{name}: --where {flags} leaves none of {self.skipped} rows; values seen of {values}")

    def _holds(self, row: Mapping[str, Any]) -> bool:
        holds = True
        for column, wanted in self.conditions.items():
            text = cell_text(row.get(column))
            holds = holds and text == wanted
            if column in row and len(seen := self.values.setdefault(column, {})) < MOST_VALUES:
                seen[text] = None
        return holds

    @staticmethod
    def _flag(column: str, wanted: str) -> str:
        return printable(f"{column}={wanted}")
