"""Disk and memory of a run, from what the probe left on the disk and held in memory, and formulas for what grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import pyarrow.parquet as pq

from s2l.config import RunSettings
from s2l.data.export import SELECTION
from s2l.forecast.flops import Amount
from s2l.forecast.probe import FEW, MANY
from s2l.forecast.target import Budgeted
from s2l.run_folder import RunFolder
from s2l.trajectories.store import SHARD_ROWS
from s2l.types import STATISTICS, Checkpoint

FLOAT32, FLOAT64 = 4, 8
ADAM = 2
"""Moments that AdamW keeps of every parameter; a resume state holds them beside the weights."""
DISTANCE_BYTES = 9
"""Of a row in selection.parquet: its distance and cluster, which the probe's random choice lacks."""
LARGEST = "largest"
ROW_BYTES = 500
"""Of a row while it is tokenized and looked up by its id: Python objects, mostly."""
TOKEN_BYTES = 15
"""Of a token while it is tokenized: id and mark, gathered, and mapped from the file."""
HELD = 0.15
"""Of the probe's peak: what the allocator comes to hold beyond it over a long run (4 to 23 % were seen)."""
COPIES = 6
"""Arrays of float64 (rows × checkpoints) that clustering holds at once, at most."""


@dataclass(frozen=True)
class Proxy:
    """The proxy and its training, as they would be."""

    model: str
    parameters: int
    steps: int
    batch_size: int
    epochs: float
    checkpoints: int
    device: str
    precision: str
    threads: int


@dataclass(frozen=True)
class Disk:
    """Bytes in the run's folder. resume: there while the proxy is trained, removed then."""

    rows: int
    tokenizer: int
    tokens: int
    checkpoints: int
    resume: int
    trajectories: int
    subsets: int

    @property
    def at_the_end(self) -> int:
        """What the finished run leaves."""
        return self.rows + self.tokenizer + self.tokens + self.checkpoints + self.trajectories + self.subsets

    @property
    def at_most(self) -> int:
        """What the run needs at any moment."""
        return max(self.at_the_end, self.rows + self.tokenizer + self.tokens + self.checkpoints + self.resume)


@dataclass(frozen=True)
class Memory:
    """Bytes of the process: the peak of the probe, which holds the whole pool, and what grows with time and rows."""

    probe: int
    held: int
    tokens: int
    trajectories: int

    @property
    def peak(self) -> int:
        """The peak of the run."""
        return self.probe + self.held + max(self.tokens, self.trajectories)


def disk(
    folder: RunFolder,
    checkpoint: Checkpoint,
    read: int,
    scorable: float,
    scale: float,
    proxy: Proxy,
    budgets: Sequence[Budgeted],
    settings: RunSettings,
) -> Disk:
    """Sizes of the probe's files, times how much more of each the run has; manifests are left out.

    scale: rows of the pool that reading did not exclude, over those of the sample.
    """
    return Disk(
        rows=round(size_of(folder.rows) * scale),
        tokenizer=size_of(folder.tokenizer),
        tokens=round(size_of(folder.tokens) * scale),
        checkpoints=proxy.checkpoints * size_of(checkpoint.path),
        resume=min(2, proxy.checkpoints) * proxy.parameters * FLOAT32 * (1 + ADAM),  # the old one goes last
        trajectories=round(proxy.checkpoints * _sums(folder.trajectories, scorable)),
        subsets=round((1 + settings.select.with_random) * _subsets(folder.subsets / LARGEST, read, budgets)),
    )


def _sums(folder: Path, rows: float) -> float:
    """Bytes of one checkpoint's sums: each file has a foot of its own, each row its share."""
    few, many = (max((folder / name).glob("*/shard-*.parquet")) for name in (FEW, MANY))
    few_rows, many_rows = (int(pq.read_metadata(path).num_rows) for path in (few, many))
    row = (size_of(many) - size_of(few)) / (many_rows - few_rows) if many_rows > few_rows else 0.0
    foot = size_of(few) - row * few_rows
    return row * rows + foot * ceil(rows / SHARD_ROWS)


def _subsets(largest: Path, read: int, budgets: Sequence[Budgeted]) -> float:
    """Bytes of a subset for each budget, from that of the largest."""
    most = max(asked.rows for asked in budgets)
    verdicts = size_of(largest / SELECTION)
    rest = size_of(largest) - verdicts
    return sum(verdicts + DISTANCE_BYTES * read + rest * asked.rows / most for asked in budgets)


def memory(peak: int, sampled: int, one_pass: Amount, checkpoints: int) -> Memory:
    """The probe's peak, and formulas for the rows beyond the sample."""
    more = max(0.0, 1 - sampled / one_pass.rows)
    tokens = more * (ROW_BYTES * one_pass.rows + TOKEN_BYTES * one_pass.tokens)
    sums = 2 * len(STATISTICS) * FLOAT32
    trajectories = more * one_pass.rows * (checkpoints * (sums + COPIES * FLOAT64) + ROW_BYTES)
    return Memory(peak, round(HELD * peak), round(tokens), round(trajectories))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files under a folder; 0 where there is none."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())
