"""Running out of memory: how it shows, and the one line that a user gets when nothing helps."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from s2l.errors import MachineError

OUT_OF_MEMORY_TEXTS = ("can't allocate memory", "DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that the device, or the machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)


def free_memory() -> None:
    """Let the next try have what is no longer in use."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def enough_memory(batch_tokens: int | None = None) -> Iterator[None]:
    """A device that runs out of memory in the block is one line (MachineError)."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        at_once = f" for {batch_tokens:,} tokens at once" if batch_tokens else ""
        raise MachineError(
            f"the device has no memory{at_once}; use a smaller --batch-tokens or proxy (and --out)"
        ) from None
