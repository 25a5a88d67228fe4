"""A block that leaves a training as it found it: random numbers, what the model's modules hold, CPU threads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

Kept = tuple[dict[Any, Any], dict[Any, Any]]
"""A dict that is in use, and what was in it."""


@contextmanager
def unchanged(model: torch.nn.Module) -> Iterator[None]:
    """What comes after the block cannot tell that it ran, if it changes no tensor of the model in place.

    Put back are the states of all random generators, the number of CPU threads, and what every module holds: whether it
    trains, its hooks, buffers and caches, its own `forward`.
    """
    held = [kept for module in model.modules() for kept in _held(module)]
    python, legacy = random.getstate(), np.random.get_state()
    threads = torch.get_num_threads()
    devices = {own.device for own in model.parameters() if own.device.type != "cpu"}
    kind = next(iter(devices)).type if devices else "cuda"
    try:
        with torch.random.fork_rng([device.index for device in devices], device_type=kind):
            yield
    finally:
        for used, before in held:
            _put_back(used, before)
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_num_threads(threads)


def _held(module: torch.nn.Module) -> Iterator[Kept]:
    """The module's attributes, and each of them that is a dict (hooks, buffers, children)."""
    attributes = vars(module)
    yield attributes, dict(attributes)
    yield from ((value, dict(value)) for value in attributes.values() if isinstance(value, dict))


def _put_back(used: dict[Any, Any], before: dict[Any, Any]) -> None:
    for name in used.keys() - before.keys():
        del used[name]
    for name, value in before.items():
        if name not in used or used[name] is not value:
            used[name] = value
