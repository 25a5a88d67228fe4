"""The plan of a training: which ids make up every global batch, when to save, how much fits in one pass.

Made once, stored, and replayed on resume; it depends on ids and seed alone, not on order, devices or workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped

from s2l.config import BUILTIN, ProxySettings
from s2l.files import write_json
from s2l.proxy.checkpoints import schedule
from s2l.selection.keyed import keys

PLAN = "plan.json"
PAPER = {"epochs": 3.0, "learning_rate": 2e-5, "batch_size": 128, "weight_decay": 0.0}
OWN = {"epochs": 3.0, "learning_rate": 2e-3, "batch_size": 32, "weight_decay": 0.0}


@dataclass(frozen=True)
class Plan:
    """Hyper-parameters with every default settled; `saves` are the steps of the checkpoints, the last step included.

    batch_tokens: padded tokens in one forward pass; halvings: (step, batch_tokens) wherever memory ran out, so that the
    step and those after it are cut the same way when they are replayed. threads: CPU threads; workers: micro-batches
    that run side by side on them; ranks: processes that shared the training when it began. What is cut and summed
    together is part of the result's last bits.
    """

    steps: int
    saves: tuple[int, ...]
    batch_size: int
    epochs: float
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    batch_tokens: int
    threads: int
    device: str
    precision: str
    seed: int
    workers: int = 1
    ranks: int = 1
    halvings: tuple[tuple[int, int], ...] = ()

    def batch_tokens_at(self, step: int) -> int:
        """Padded tokens in one forward pass of `step` (from 0)."""
        return min([self.batch_tokens, *(tokens for since, tokens in self.halvings if since <= step)])

    def halved_at(self, step: int) -> Plan:
        """The plan with half the tokens from `step` on."""
        return replace(self, halvings=(*self.halvings, (step, max(1, self.batch_tokens_at(step) // 2))))

    @contextmanager
    def cpu_threads(self) -> Iterator[None]:
        """Run the block on the planned number of CPU threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON types."""
        return {**asdict(self), "saves": list(self.saves), "halvings": [list(halving) for halving in self.halvings]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        """The inverse of `as_json`."""
        halvings = tuple((step, tokens) for step, tokens in value["halvings"])
        return cls(**{**value, "saves": tuple(value["saves"]), "halvings": halvings})

    def write(self, folder: Path) -> None:
        """Keep the plan in `folder`."""
        write_json(folder / PLAN, self.as_json())


def make_plan(
    n_rows: int,
    settings: ProxySettings,
    *,
    batch_tokens: int,
    threads: int,
    device: str,
    seed: int,
    ranks: int = 1,
) -> Plan:
    """Settle every default: the paper's values for a pretrained proxy, own ones for the built-in."""
    defaults = OWN if settings.model == BUILTIN else PAPER
    chosen = {name: getattr(settings, name) for name in defaults}
    values = {name: defaults[name] if value is None else value for name, value in chosen.items()}
    batch_size = min(int(values["batch_size"]), n_rows)
    steps_per_epoch = -(-n_rows // batch_size)
    steps = max(1, round(values["epochs"] * steps_per_epoch))
    return Plan(
        steps=steps,
        saves=schedule(steps, settings.checkpoints),
        batch_size=batch_size,
        epochs=float(values["epochs"]),
        learning_rate=float(values["learning_rate"]),
        weight_decay=float(values["weight_decay"]),
        warmup_steps=int(np.ceil(settings.warmup * steps)),
        batch_tokens=batch_tokens,
        threads=threads,
        device=device,
        precision=settings.precision,
        seed=seed,
        ranks=ranks,
    )


def global_batches(ids: Shaped[np.ndarray, " N"], plan: Plan) -> list[Int[np.ndarray, " _"]]:
    """Rows of each step's global batch. Every epoch is a fresh keyed order of all rows; the last batch may be short."""
    batches: list[Int[np.ndarray, " _"]] = []
    epoch = 0
    while len(batches) < plan.steps:
        order = np.argsort(keys(plan.seed, f"train/epoch-{epoch}", ids), kind="stable")
        batches += [order[start : start + plan.batch_size] for start in range(0, len(order), plan.batch_size)]
        epoch += 1
    return batches[: plan.steps]
