"""What every benchmark shares: peers run in turns, medians of ratios, the hardware's GEMM peak, results as JSON."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from s2l.provenance import peak_memory

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pyarrow")


def in_turns(jobs: Mapping[str, Callable[[], Any]], repeats: int = 3) -> dict[str, list[float]]:
    """Seconds of every job, one after another in each of `repeats` rounds, so that a slow minute slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            gc.collect()
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def stage(stages: dict[str, dict[str, float]], name: str, job: Callable[[], Any]) -> Any:
    """What `job` gives; its seconds, and the peak memory so far, are printed and kept in `stages`."""
    start = time.perf_counter()
    result = job()
    stages[name] = {"seconds": round(time.perf_counter() - start, 2), "peak_memory_mib": peak_memory() >> 20}
    print(f"{name:<24}{stages[name]['seconds']:>8.2f} s   peak memory {stages[name]['peak_memory_mib']:>6} MiB")
    return result


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median over the rounds of slow ÷ fast."""
    return round(statistics.median(a / b for a, b in zip(slow, fast, strict=True)), 3)


def median(seconds: list[float]) -> float:
    """Median, for a table."""
    return round(statistics.median(seconds), 4)


def gemm_peak(dtype: torch.dtype, device: str = "cpu", size: int | None = None) -> float:
    """FLOP/s of the best of several square matrix products, all threads."""
    size = size or (2048 if device == "cpu" else 8192)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    products = 1 if device == "cpu" else 20
    (a @ b)[0, 0].item()
    for _ in range(8):
        start = time.perf_counter()
        for _ in range(products):
            c = a @ b
        c[0, 0].item()  # waits for a GPU
        best = min(best, (time.perf_counter() - start) / products)
    return 2 * size**3 / best


def hardware() -> dict[str, Any]:
    """Processor, cores, GPU, and the versions measured."""
    info: dict[str, Any] = {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()}
    if torch.cuda.is_available():
        info["gpu"] = torch.cuda.get_device_name()
    return info | {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def commit() -> str:
    """The commit measured, with a + where the tree was changed since; empty outside a checkout."""
    here = Path(__file__).parent

    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=here, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short=12", "HEAD") + "+" * bool(changed)


def save(path: Path, figures: Mapping[str, Any]) -> None:
    """The figures with what they were measured on, as JSON; printed too."""
    result = {
        **figures,
        "hardware": hardware(),
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
