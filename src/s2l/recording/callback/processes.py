"""The processes of a DDP training as the recorder sees them: what goes wrong on one is raised on all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from s2l.errors import MachineError, S2LError, printable

PATIENCE = timedelta(days=1)
"""How long the others wait for one that reads the pool, or has more shards to score."""


@dataclass(frozen=True)
class Processes:
    """This process's place among `world`; they talk over a group of their own, on the CPU."""

    rank: int = 0
    world: int = 1
    group: Any = None

    @property
    def leads(self) -> bool:
        """Whether this process is the first."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """What every process says, in order, on all of them."""
        said = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(said, value, group=self.group)
        return said

    @contextmanager
    def together(self) -> Iterator[None]:
        """All leave the block at the same time; what went wrong on any of them is raised on every one, as an S2LError.

        Any other exception becomes a MachineError: were it left to its own process, the others would wait for it.
        """
        error: S2LError | None = None
        cause: Exception | None = None
        try:
            yield
        except S2LError as own:
            error = own
        except Exception as other:
            error, cause = MachineError(printable(f"{type(other).__name__}: {other}".partition("\n")[0])), other
        first = next((error for error in self.gather(error) if error is not None), None)
        if first is not None:
            raise first from cause

    def part(self) -> None:
        """Close the group."""
        if self.world > 1:
            dist.destroy_process_group(self.group)


def joined() -> Processes:
    """The processes of the training that this one is part of; itself alone if there are no others."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return Processes()
    return Processes(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo", timeout=PATIENCE))
