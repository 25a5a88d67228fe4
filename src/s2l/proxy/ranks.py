"""The processes of a launcher (torchrun, accelerate launch): the first one leads, the others work on its batches.

The first alone holds the run folder, the optimizer and the checkpoints. At each step it gives its weights to the
others and gets the sum of all gradients. What runs inside a process must not see the launcher: Trainer would wrap the
model and shard the data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from s2l.errors import MachineError, SettingsError, shown
from s2l.proxy.loss import gradient_of

LAUNCHER = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"})
SETTINGS_OF_LAUNCHERS = ("ACCELERATE_", "FSDP_")
PATIENCE = timedelta(days=30)
"""How long the others wait for the first to read and tokenize the pool; the death of a process ends it at once."""


class GoneError(MachineError):
    """Another process of the group has ended."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among `world` processes; `local`: its place on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process is the first."""
        return self.rank == 0

    def tell(self, value: Any = None) -> Any:
        """What the first process says, on all of them."""
        if self.world == 1:
            return value
        box = [value]
        with _together():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """What every process says, in order, on the first; nothing on the others."""
        if self.world == 1:
            return [value]
        said: list[Any] | None = [None] * self.world if self.leads else None
        with _together():
            dist.gather_object(value, said, dst=0)
        return said or []

    def total(self, loss: torch.Tensor | None) -> tuple[torch.Tensor, int]:
        """The sum of all processes' losses, and how many have none to give."""
        if self.world == 1:
            return (torch.zeros(()), 1) if loss is None else (loss, 0)
        figures = torch.tensor([0.0, 1.0] if loss is None else [loss.item(), 0.0], dtype=torch.float64)
        with _together():
            dist.all_reduce(figures)
        total = figures[0].float()
        return total if loss is None else total.to(loss.device), int(figures[1])

    @torch.no_grad()
    def give_weights(self, model: torch.nn.Module) -> None:
        """The first process's weights, to all."""
        if self.world == 1:
            return
        own = list(model.parameters())
        flat = torch.cat([parameter.flatten() for parameter in own])
        with _together():
            dist.broadcast(flat, src=0)
        if not self.leads:
            for parameter, values in zip(own, flat.split([p.numel() for p in own]), strict=True):
                parameter.copy_(values.view_as(parameter))

    @torch.no_grad()
    def sum_gradients(self, model: torch.nn.Module) -> None:
        """The sum of all processes' gradients, in `.grad` on the first; none where no process has one."""
        if self.world == 1:
            return
        own = list(model.parameters())
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in own])
        there = torch.tensor([p.grad is not None for p in own], dtype=torch.float32, device=flat.device)
        with _together():
            dist.reduce(flat, dst=0)
            dist.reduce(there, dst=0)
        if self.leads:
            for parameter, values, any_ in zip(own, flat.split([p.numel() for p in own]), there.tolist(), strict=True):
                if any_:
                    gradient_of(parameter).copy_(values.view_as(parameter))

    def part(self) -> None:
        """Leave the group, all processes at the same time: after the training, whatever ended it."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()


ALONE = Ranks()


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE") or "1") > 1


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process's place in the launcher's group, joined for the block; alone if there is none."""
    hidden = [name for name in os.environ if name in LAUNCHER or name.startswith(SETTINGS_OF_LAUNCHERS)]
    place = {name: os.environ.pop(name) for name in hidden}
    try:
        if int(place.get("WORLD_SIZE") or "1") == 1:
            yield ALONE
            return
        ranks = _join(place)
        try:
            yield ranks
        finally:
            ranks.part()
    finally:
        os.environ.update(place)


def _join(place: Mapping[str, str]) -> Ranks:
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        ranks = Ranks(int(place["RANK"]), int(place["WORLD_SIZE"]), int(place.get("LOCAL_RANK", "0")))
        with _together():
            dist.init_process_group(backend, timeout=PATIENCE, rank=ranks.rank, world_size=ranks.world)
    except (KeyError, ValueError):
        raise SettingsError(
            f"WORLD_SIZE is {shown(place['WORLD_SIZE'])}, but RANK, MASTER_ADDR and MASTER_PORT do not go with it: "
            "start several processes by torchrun or accelerate launch"
        ) from None
    return ranks


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = shown(str(error).partition("\n")[0])
        raise GoneError(
            f"another process of the launcher has ended, or cannot be reached ({reason}); run the same command again, "
            "on as many processes as you like"
        ) from None
