"""What `s2l plan` says beside what `s2l run` then takes: forecast ÷ real, per stage and in all.

    python benchmarks/forecast.py --pool train.jsonl --rows 3000 --out results.json [-- --proxy builtin --checkpoints 4]

Both see the same random rows of the pool and the same flags, each in a process of its own, one after the other.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from measure import save

PROXY = ("--proxy", "builtin")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("flags", nargs="*", help="flags of both verbs, behind --")
    args = parser.parse_args()
    flags = tuple(args.flags) or PROXY
    with TemporaryDirectory() as scratch:
        pool, run = Path(scratch) / "pool.jsonl", Path(scratch) / "run"
        lines = args.pool.read_bytes().split(b"\n")[:-1]
        rows = sorted(random.Random(0).sample(range(len(lines)), min(args.rows, len(lines))))
        pool.write_bytes(b"".join(lines[row] + b"\n" for row in rows))
        forecast, forecast_seconds = _s2l("plan", str(pool), "--budget", "11%", *flags)
        manifest, run_seconds = _s2l("run", str(pool), "--budget", "11%", *flags, "--out", str(run))
        disk = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    save(args.out, _compared(forecast, manifest, disk) | _whole(args.rows, flags, forecast_seconds, run_seconds))


def _s2l(*words: str) -> tuple[dict[str, Any], float]:
    start = time.perf_counter()
    words = (sys.executable, "-c", "from s2l.cli import main; main()", *words, "--json")
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout), round(time.perf_counter() - start, 2)


def _compared(forecast: dict[str, Any], manifest: dict[str, Any], disk: int) -> dict[str, Any]:
    told = {stage["name"]: stage["seconds"] for stage in forecast["stages"]}
    real = manifest["seconds"]
    stages = {
        name: {"forecast": round(told[name], 3), "real": seconds, "ratio": round(told[name] / max(seconds, 1e-3), 3)}
        for name, seconds in real.items()
    }
    return {
        "ratio_seconds": round(forecast["seconds"] / sum(real.values()), 3),
        "ratio_disk": round(forecast["disk"]["at_the_end"] / disk, 3),
        "ratio_peak_memory": round(forecast["memory"]["peak"] / manifest["peak_memory_bytes"], 3),
        "ratio_tokens": round(forecast["one_pass"]["tokens"] / manifest["tokens"]["tokens"], 4),
        "peak_memory_mib": [forecast["memory"]["peak"] >> 20, manifest["peak_memory_bytes"] >> 20],
        "stages": stages,
    }


def _whole(rows: int, flags: tuple[str, ...], forecast_seconds: float, run_seconds: float) -> dict[str, Any]:
    return {
        "rows": rows,
        "flags": " ".join(flags),
        "seconds_of_the_forecast_itself": forecast_seconds,
        "seconds_of_the_run_with_start": run_seconds,
    }


if __name__ == "__main__":
    main()
