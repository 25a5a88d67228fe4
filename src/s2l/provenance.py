"""From what a result was made: the pool, the proxy, the machine and the versions; part of every manifest."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from resource import RUSAGE_SELF, getrusage
from typing import Any

import torch

from s2l import __version__
from s2l.files import read_record
from s2l.proxy.checkpoints import RECORD
from s2l.proxy.stage import PLAN, START
from s2l.run_folder import RunFolder

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "safetensors", "pyarrow", "numpy")


def provenance(folder: RunFolder) -> dict[str, Any]:
    """What the run in `folder` was made from and on, JSON-able; the same whenever it is asked."""
    plan = read_record(folder.proxy / PLAN)
    return {
        "s2l": __version__,
        "pool": folder.claimed()["pool"],
        "proxy": {
            "start": read_record(folder.proxy / START),
            "plan": plan,
            "checkpoints": [read_record(path) for path in sorted(folder.proxy.glob(f"step-*/{RECORD}"))],
        },
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "threads": plan["threads"],
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def peak_memory() -> int:
    """Bytes of memory that this process held at most."""
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
