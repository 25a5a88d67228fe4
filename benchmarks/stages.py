"""Seconds and memory of every stage but the proxy's, on a pool of any size.

    python benchmarks/stages.py --pool train.jsonl --out results.json

Reads, fits the built-in tokenizer, tokenizes, stores made-up sums (decaying losses, so that the proxy's time is left
out), loads them, clusters, draws 11 % and exports.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measure import save, stage

from s2l.config import PoolSettings, SelectSettings, TokenSettings
from s2l.data.export import write_selection
from s2l.data.pool import read_pool
from s2l.data.subset import write_subset
from s2l.data.tokens import fitting_texts, load_tokens, save_tokens, tokenize
from s2l.proxy.builtin import fit_tokenizer
from s2l.selection.select import select
from s2l.trajectories import store
from s2l.types import STATISTICS, Checkpoint, Recorded, Tokens

CHECKPOINTS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    stages: dict[str, dict[str, float]] = {}
    timed = partial(stage, stages)

    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pool = timed("read", lambda: read_pool(PoolSettings(paths=(args.pool,))))
        tokenizer = timed("fit the tokenizer", lambda: fit_tokenizer(fitting_texts(pool, TokenSettings()), 4096))
        made = timed("tokenize", lambda: tokenize(pool, tokenizer, TokenSettings(), builtin=True))
        timed("save tokens", lambda: save_tokens(made, folder / "tokens.arrow"))
        tokens = timed("load tokens", lambda: load_tokens(folder / "tokens.arrow"))
        timed("store made-up sums", lambda: _store(tokens, folder / "trajectories"))
        trajectories = timed("load sums", lambda: store.load(folder / "trajectories", range(1, CHECKPOINTS + 1)))
        scorable = np.argsort(pool.rows.ids)
        scorable = scorable[np.isin(pool.rows.ids[scorable], trajectories.ids)]
        recorded = Recorded(trajectories, pool.rows.source_N[scorable], pool.rows.sources, tokens.lengths)
        settings = SelectSettings(budgets=("11%",), with_random=True)
        chosen, twin = timed(
            "cluster and draw", lambda: select(pool.rows, recorded, settings, 0, excluded=tokens.excluded)
        )
        (folder / "subset").mkdir()
        timed("export the subset", lambda: write_subset(pool.rows, chosen.kept_N, folder / "subset"))
        timed("export the verdicts", lambda: write_selection(pool.rows, chosen, recorded, folder / "selection.parquet"))
    overlap = float((chosen.kept_N & twin.kept_N).sum() / chosen.budget)
    result: dict[str, Any] = {
        "pool_rows": len(pool),
        "excluded": len(tokens.excluded),
        "tokens": int(tokens.start_N[-1]),
        "chosen": chosen.budget,
        "overlap_with_random": round(overlap, 4),
        "stages": stages,
    }
    save(args.out, result)


def _store(tokens: Tokens, folder: Path) -> None:
    """Losses that fall from a row's own height at its own rate, with a little noise."""
    rng = np.random.default_rng(0)
    start_N, floor_N, rate_N = rng.gamma(4, 0.7, (3, len(tokens)))
    response_N = tokens.response_lengths
    for step in range(1, CHECKPOINTS + 1):
        loss_N = floor_N * 0.3 + start_N * np.exp(-rate_N * step / 6) + rng.normal(0, 0.02, len(tokens)) ** 2
        for item in store.work_items(len(tokens), Checkpoint(step, Path(), "made-up")):
            rows = slice(item.rows.start, item.rows.stop)
            sums_n = (loss_N * response_N)[rows].astype(np.float32)
            store.write_item(item, folder, tokens, np.stack([sums_n] * len(STATISTICS)))


if __name__ == "__main__":
    main()
