"""GraNd: norms of many rows' gradients from shared backward passes, beside one backward pass for each row, in turns.

    python benchmarks/grand.py --shape builtin --pool train.jsonl --out R.json
    python benchmarks/grand.py --shape 70m --model FOLDER --pool train.jsonl --count 16 --out R.json

The plain loop is what one writes with transformers: loss, backward, the norm of all gradients. `alone` is what ours
falls back to for a model that the shared pass does not cover; it is the naive formula that the norms are held against.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import in_turns, median, ratio, save
from torch.nn.functional import cross_entropy
from torch.nn.utils import get_total_norm
from train import prepare
from transformers import PreTrainedModel

from s2l.scoring.batching import collate
from s2l.scoring.gradients import Scope, gradient_norms, squared_norms_alone
from s2l.scoring.precision import plain_kernels
from s2l.types import Tokens

IGNORED = -100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=("builtin", "70m"), required=True)
    parser.add_argument("--model", type=Path, help="folder of the 70M model and its tokenizer")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the pool that are read")
    parser.add_argument("--count", type=int, default=400, help="rows of them whose norms are taken")
    parser.add_argument("--scopes", nargs="+", choices=("all", "head"), default=("all", "head"))
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    parser.set_defaults(batch_size=32, steps=1, precision="float32")
    args = parser.parse_args()
    task = prepare(args)
    model, tokens = task.start.eval(), task.tokens
    rows = np.unique(np.linspace(0, len(tokens) - 1, args.count).astype(np.int64))
    figures = {scope: compared(model, tokens, rows, scope, args) for scope in args.scopes}
    save(
        args.out,
        {
            "shape": args.shape,
            "rows": len(rows),
            "tokens_per_row": round(float(tokens.lengths[rows].mean()), 1),
            "response_tokens_per_row": round(float(tokens.response_lengths[rows].mean()), 1),
            "batch_tokens": args.batch_tokens,
            "threads": torch.get_num_threads(),
            **{f"scope_{scope}": told for scope, told in figures.items()},
        },
    )


def compared(
    model: PreTrainedModel, tokens: Tokens, rows: np.ndarray, scope: Scope, args: argparse.Namespace
) -> dict[str, Any]:
    """Both ways and ours on these rows: seconds, and how far the norms are apart."""
    norms: dict[str, np.ndarray] = {}
    threads = torch.get_num_threads()
    seconds = in_turns(
        {
            "ours": lambda: norms.update(ours=gradient_norms(model, tokens, rows, scope, args.batch_tokens, threads)),
            "plain_loop": lambda: norms.update(plain_loop=plain_loop(model, tokens, rows, scope)),
            "alone": lambda: norms.update(alone=one_by_one(model, tokens, rows, scope)),
        },
        args.repeats,
    )
    return {
        "ratio": ratio(seconds["plain_loop"], seconds["ours"]),
        "ratio_to_alone": ratio(seconds["alone"], seconds["ours"]),
        "max_relative_difference": float(np.abs(norms["ours"] / norms["alone"] - 1).max()),
        "max_relative_difference_of_the_plain_loop": float(np.abs(norms["plain_loop"] / norms["alone"] - 1).max()),
        "seconds": {name: median(taken) for name, taken in seconds.items()},
        "tokens_per_second": {
            name: round(int(tokens.lengths[rows].sum()) / median(taken)) for name, taken in seconds.items()
        },
    }


def plain_loop(model: PreTrainedModel, tokens: Tokens, rows: np.ndarray, scope: Scope) -> np.ndarray:
    """Loss, backward and norm, a row at a time, with torch as it comes."""
    head = model.get_output_embeddings()
    norms = []
    for row in rows:
        span = slice(int(tokens.start_N[row]), int(tokens.start_N[row + 1]))
        ids_L = torch.from_numpy(tokens.input_ids[span].astype(np.int64))
        labels_L = torch.where(torch.from_numpy(tokens.counted[span]), ids_L, IGNORED)
        model.zero_grad()
        if scope == "all":
            model(input_ids=ids_L[None], labels=labels_L[None], use_cache=False).loss.backward()
            parameters = list(model.parameters())
        else:
            with torch.no_grad():
                states_LD = model.base_model(input_ids=ids_L[None], use_cache=False).last_hidden_state[0]
            cross_entropy(head(states_LD[:-1]), labels_L[1:]).backward()
            parameters = list(head.parameters())
        norms.append(get_total_norm([p.grad for p in parameters if p.grad is not None]).item())
    model.zero_grad()
    return np.array(norms)


def one_by_one(model: PreTrainedModel, tokens: Tokens, rows: np.ndarray, scope: Scope) -> np.ndarray:
    """The naive formula of the project itself."""
    with plain_kernels(model.device.type, "float32"):
        squared = [squared_norms_alone(model, collate(tokens, rows[at : at + 1]), scope) for at in range(len(rows))]
    return torch.cat(squared).sqrt().numpy()


if __name__ == "__main__":
    logging.getLogger("transformers").setLevel(logging.ERROR)
    main()
