"""The pass over the logits as one compiled loop, where a C++ compiler (or Triton) exists."""

from __future__ import annotations

import warnings
from functools import cache

import torch

from s2l.scoring import head
from s2l.scoring.forward import Update


@cache
def compiled_update(device: str, dtype: torch.dtype) -> Update | None:
    """`head.update` compiled for logits of this type, or None where it cannot be; takes seconds, once.

    On a CPU the loop is for one thread, as every scoring worker has its own batch. Threads and autocast are as they
    will be: with others it would be compiled once more.
    """
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    autocast = torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16)
    try:
        with torch.inference_mode(), autocast, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about parts of itself
            update = torch.compile(head.update, dynamic=True)
            for rows, columns in ((48, 80), (16, 112)):
                logits_Rv = torch.zeros(rows, columns, dtype=dtype, device=device)
                update(head.nothing(torch.zeros(rows, dtype=torch.int64, device=device)), logits_Rv)
    except Exception:  # whatever the compiler's absence or failure is called
        return None
    finally:
        torch.set_num_threads(threads)
    return update
