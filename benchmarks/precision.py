"""How much of a subset changes when the losses are scored in bfloat16, and when they move by 1e-6 nats.

    python benchmarks/precision.py --run RUN --out results.json

RUN is a finished run recorded in float32. Its checkpoints are scored again in bfloat16; S2L then draws 11 % from the
float32 losses, from the bfloat16 losses, and from the float32 losses with uniform noise of ±1e-6 and ±1e-3, all with
the run's own seed, and from the float32 losses with another seed for k-means or for everything, for comparison.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Bool
from measure import save
from scipy.stats import spearmanr

from s2l.config import SelectSettings
from s2l.data.rows_file import load_rows
from s2l.data.tokens import load_tokens
from s2l.files import read_record
from s2l.ids import id_order
from s2l.progress import SILENT
from s2l.proxy import checkpoints
from s2l.proxy.plan import PLAN, Plan
from s2l.run_folder import RunFolder
from s2l.scoring.record import record
from s2l.selection.select import select
from s2l.trajectories import store
from s2l.types import Recorded, Trajectories

BUDGET = "11%"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    folder = RunFolder(args.run)
    seed = int(read_record(folder.manifest)["settings"]["seed"])
    tokens = load_tokens(folder.tokens)
    rows, lengths_N = load_rows(folder.rows)
    order = id_order(rows.ids)
    scorable = order[np.isin(rows.ids[order], tokens.ids)]
    plan = Plan.from_json(read_record(folder.proxy / PLAN))
    exact = store.load(folder.trajectories, plan.saves)
    found = [checkpoint for step in plan.saves if (checkpoint := checkpoints.find(folder.proxy, step))]

    def chosen(trajectories: Trajectories, draw_seed: int, options: Mapping[str, Any] | None = None) -> Bool[Any, " N"]:
        recorded = Recorded(trajectories, rows.source_N[scorable], rows.sources, lengths_N)
        settings = SelectSettings(budgets=(BUDGET,), options=dict(options or {}))
        return select(rows, recorded, settings, draw_seed)[0].kept_N

    reference = chosen(exact, seed)
    with TemporaryDirectory() as scratch:
        rough = record(tokens, found, replace(plan, precision="bfloat16"), Path(scratch), SILENT, str)
        difference = np.abs(rough.losses_NT - exact.losses_NT)
        others = {
            "bfloat16": chosen(rough, seed),
            "noise_1e-6": chosen(noisy(exact, 1e-6), seed),
            "noise_1e-3": chosen(noisy(exact, 1e-3), seed),
            "another_seed_of_kmeans": chosen(exact, seed, {"cluster_seed": seed + 1}),
            "another_seed": chosen(exact, seed + 1),
        }
        spearman = float(spearmanr(rough.losses_NT[:, -1], exact.losses_NT[:, -1]).statistic)
    budget = int(reference.sum())
    save(
        args.out,
        {
            "rows": len(rows.ids),
            "scorable": len(tokens),
            "chosen": budget,
            "overlap": {name: round(float((kept & reference).sum() / budget), 4) for name, kept in others.items()},
            "overlap_by_chance": round(budget / len(tokens), 4),
            "mean_abs_diff_bf16": float(difference.mean()),
            "max_abs_diff_bf16": float(difference.max()),
            "spearman_bf16_last_checkpoint": spearman,
        },
    )


def noisy(trajectories: Trajectories, size: float) -> Trajectories:
    """The trajectories with uniform noise of ± `size` nats in every loss."""
    rng = np.random.default_rng(0)
    noise_NT = rng.uniform(-size, size, trajectories.losses_NT.shape)
    nll_NT = (trajectories.losses_NT + noise_NT) * trajectories.tokens_N[:, None]
    return replace(trajectories, sums={"nll": nll_NT.astype(np.float32)})


if __name__ == "__main__":
    main()
