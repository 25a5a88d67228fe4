"""The compiled pass beside the eager one, in a process whose annotations are not checked: a check cannot be compiled.

Prints the largest difference, for logits of each type; null where nothing could be compiled.
"""

import json

import torch

from s2l.scoring.compiled import compiled_update
from s2l.scoring.head import nothing, update


def difference(dtype: torch.dtype) -> float | None:
    compiled = compiled_update("cpu", dtype)
    if compiled is None:
        return None
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    with torch.inference_mode():
        for rows, columns in ((7, 33), (64, 500), (1, 2)):
            running_4R = nothing(torch.zeros(rows, dtype=torch.int64))
            exact_4R = running_4R
            for _ in range(3):
                logits_Rv = (10 * torch.randn(rows, columns, generator=generator)).to(dtype)
                running_4R, exact_4R = compiled(running_4R, logits_Rv), update(exact_4R, logits_Rv)
            relative = (running_4R - exact_4R).abs() / (1 + exact_4R.abs())
            largest = max(largest, float(relative.max()))
    return largest


print(json.dumps([difference(dtype) for dtype in (torch.float32, torch.bfloat16)]))
