"""RUN/manifest.json: what came out of a run and from what; written last, and itself a recipe (`settings`)."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from s2l import __version__
from s2l.config import RunSettings
from s2l.data.rows_file import load_rows
from s2l.data.tokens import load_tokens
from s2l.files import read_json
from s2l.flags import command
from s2l.proxy.checkpoints import RECORD
from s2l.proxy.stage import PLAN, START
from s2l.run_folder import RunFolder, peak_memory
from s2l.selection.signal import Signal
from s2l.subsets import SubsetFolder
from s2l.types import Rows

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "safetensors", "pyarrow", "numpy")


def of_run(
    settings: RunSettings, folder: RunFolder, strength: Signal, subsets: Sequence[SubsetFolder]
) -> dict[str, Any]:
    """The manifest; `selection_sha256` is that of the first budget."""
    rows, lengths_N = load_rows(folder.rows)
    tokens = load_tokens(folder.tokens)
    plan = read_json(folder.proxy / PLAN)
    return {
        "s2l": __version__,
        "selection_sha256": subsets[0].manifest["selection_sha256"],
        "settings": settings.model_dump(mode="json"),
        "command": command(settings, str(folder.path)),
        "pool": {**folder.claimed()["pool"], **_counts(rows)},
        "tokens": {
            "rows": len(tokens),
            "tokens": int(lengths_N.sum()),
            "response_tokens": int(tokens.counted.sum()),
            "truncated": int(tokens.truncated_N.sum()),
        },
        "proxy": {"start": read_json(folder.proxy / START), "plan": plan, "checkpoints": _checkpoints(folder)},
        "signal": {**asdict(strength), "sentence": strength.sentence},
        "subsets": [
            {name: value for name, value in subset.manifest.items() if name not in {"facts", "settings"}}
            for subset in subsets
        ],
        "seconds": folder.seconds(),
        "peak_memory_bytes": peak_memory(),
        "machine": _machine(plan["threads"]),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def _counts(rows: Rows) -> dict[str, Any]:
    reasons = Counter(rows.excluded.values())
    first = {rows.excluded[id_]: i for i, id_ in reversed(list(enumerate(rows.ids.tolist()))) if id_ in rows.excluded}
    by_source = np.bincount(rows.source_N, minlength=len(rows.sources))
    return {
        "read": len(rows),
        "excluded": [
            {"reason": reason, "rows": n, "first": rows.place(first[reason])} for reason, n in reasons.most_common()
        ],
        "exact_repeats": int((rows.occurrence_N > 0).sum()),
        "rows_by_source": {source: int(n) for source, n in zip(rows.sources, by_source, strict=True)},
    }


def _checkpoints(folder: RunFolder) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(folder.proxy.glob(f"step-*/{RECORD}"))]


def _machine(threads: int) -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
