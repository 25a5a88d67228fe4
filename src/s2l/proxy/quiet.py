"""Keep transformers and the hub client from printing: their bars and warnings would break the one line we show."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils.logging import EmptyTqdm, set_tqdm_hook

LOGGERS = ("transformers", "huggingface_hub", "accelerate")


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of theirs shows in the block; the user's own settings come back after it."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    hook = set_tqdm_hook(lambda _factory, args, kwargs: EmptyTqdm(*args, **kwargs))
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        set_tqdm_hook(hook)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
