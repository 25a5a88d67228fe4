"""Sums of a run read without the code under test, and rows that mean harm."""

import unicodedata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.cells import cell_len

from s2l.types import STATISTICS

SECRET = "planted"
HARM = {
    "escapes": "\x1b]0;owned\x07\x1b[31mred\x1b[2J\x9b31m",
    "right to left": "\u202eevil\u2066isolate\u2069\u200f",
    "zero width": "a\u200bb\ufeffc\u2060",
    "markup": "[bold]not bold[/bold] [/] [link=https://a.b]c[/link] :skull:",
    "page": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "lines": "\n" * 500 + "\r\n\u2028\u2029\x85" * 50,
    "controls": "\x00\x08\x0b\x7f\t",
    "wide": "宽" * 300,
    "a megabyte": "long " * 200_000,
}
SURROGATE = "surrogate"


def hostile_rows() -> list[dict[str, str]]:
    """Sound rows of two sources, then one row for each harm, in its prompt, its answer and its source."""
    rows = [
        {"instruction": f"{SECRET}: add {i} and 1.", "output": f"{SECRET} {i + 1}", "source": "ab"[i % 2]}
        for i in range(40)
    ]
    for name, harm in HARM.items():
        rows.append({"instruction": f"{SECRET} {harm[:40]}", "output": f"{SECRET} {harm}", "source": harm[:30]})
        rows.append({"instruction": f"{SECRET} {harm}", "output": f"{SECRET} {name}", "source": name})
    return [*rows, {"instruction": f"{SECRET} \ud800", "output": SECRET, "source": SURROGATE}]


def assert_harmless(text: str, width: int = 120, most: int = 40_000) -> None:
    """Nothing that a terminal obeys, no line too long, and not much of it."""
    for line in text.split("\n"):
        odd = [c for c in line if c != " " and unicodedata.category(c)[0] in "CZ"]
        assert not odd, ascii(line)
        assert cell_len(line) <= width, line
    assert len(text) < most


def recorded(run: Path) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Ids, response tokens, and statistic → (N, T) sums, straight from the files."""
    steps = sorted((run / "trajectories").glob("step-*"))
    tables = [pq.read_table(step / "shard-00000.parquet") for step in steps]
    ids, tokens = tables[0]["id"].to_pylist(), np.array(tables[0]["tokens"])
    sums = {
        name: np.stack([np.array(table[name], dtype=np.float64) for table in tables], axis=1) for name in STATISTICS
    }
    return ids, tokens, sums


def losses(run: Path) -> dict[str, np.ndarray]:
    """Id → loss at every checkpoint, nats per response token."""
    ids, tokens, sums = recorded(run)
    return dict(zip(ids, sums["nll"] / tokens[:, None], strict=True))
