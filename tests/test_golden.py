"""One golden selection: fixed recorded sums give these ids on any machine, in any order; a refactor must give the same.

Where a departure is meant, and its reason stands in docs/decisions.md: `python tests/test_golden.py` writes it anew.
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2l.config import SelectSettings
from s2l.selection.select import select
from s2l.types import Recorded, Rows, Trajectories

GOLDEN = Path(__file__).parent / "golden" / "selection.json"
ROWS, CHECKPOINTS = 200, 5
SEED = 7
WAYS: Mapping[str, Mapping[str, Any]] = {
    "s2l": {"options": {"clusters": 10}},
    "s2l, 100 clusters": {},
    "s2l, log, stable": {"options": {"clusters": 10, "representation": "log", "within": "stable"}},
    "s2l, differences, central": {"options": {"clusters": 10, "representation": "differences", "within": "central"}},
    "s2l, balanced over sources": {"options": {"clusters": 10}, "balance": "source"},
    "s2l, from random rows": {"options": {"clusters": 10, "start": "random"}},
    "random": {"method": "random"},
}
BUDGETS = ("10%", "30")


def bits(row: int, what: str) -> float:
    """A number in [0, 1) that every machine agrees on."""
    return int.from_bytes(blake2b(f"{row} {what}".encode(), digest_size=4).digest()) / 2**32


def loss(row: int, checkpoint: int) -> float:
    """Falls from a height of its own at a rate of its own, by exact arithmetic alone."""
    height, rate = 1 + 3 * bits(row, "height"), 4 * bits(row, "rate")
    return height / (1 + rate * checkpoint) + bits(row, f"noise {checkpoint}") / 16


def toy() -> tuple[Rows, Recorded]:
    """The recorded sums of 200 rows in four sources, and the rows in a file order of their own."""
    ids = np.array(sorted(blake2b(b"%d" % row, digest_size=12).hexdigest() for row in range(ROWS)), dtype="S24")
    tokens_N = np.array([3 + row % 11 for row in range(ROWS)])
    losses_NT = np.array([[loss(row, t) for t in range(CHECKPOINTS)] for row in range(ROWS)])
    sums = {"nll": (losses_NT * tokens_N[:, None]).astype(np.float32)}
    trajectories = Trajectories(ids, tuple(range(1, CHECKPOINTS + 1)), tokens_N, sums)
    source_N = np.array([min(3, row.bit_length() % 5) for row in range(ROWS)])
    sources = ("algebra", "counting", "logic", "words")
    order = np.array(sorted(range(ROWS), key=lambda row: bits(row, "place")))
    rows = Rows(
        ids=ids[order],
        occurrence_N=np.zeros(ROWS, dtype=np.int64),
        source_N=source_N[order],
        sources=sources,
        file_N=np.zeros(ROWS, dtype=np.int64),
        files=("pool.jsonl",),
        row_N=np.arange(ROWS),
        line_N=np.arange(1, ROWS + 1),
    )
    return rows, Recorded(trajectories, source_N, sources, tokens_N + 9)


def chosen(way: Mapping[str, Any]) -> dict[str, list[str]]:
    """The ids that each budget keeps."""
    rows, recorded = toy()
    selections = select(rows, recorded, SelectSettings(budgets=BUDGETS, **way), SEED)
    return {str(s.facts["budget"]): [id_.decode() for id_ in s.kept_ids.tolist()] for s in selections}


@pytest.mark.parametrize("way", WAYS)
def test_the_golden_selection_has_not_changed(way: str) -> None:
    assert chosen(WAYS[way]) == json.loads(GOLDEN.read_text(encoding="utf-8"))[way]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: chosen(way) for name, way in WAYS.items()}, indent=1) + "\n", encoding="utf-8")
