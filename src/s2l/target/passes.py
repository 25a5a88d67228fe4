"""The plain way of a step: its global batch shared over devices and passes, our labels, padded or end to end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.proxy.shares import deal
from s2l.types import Tokens

IGNORED = -100
FILLER_TOKENS = 2
SAME = 0.01
NOISE = 1e-5
"""Nats by which log-probabilities may differ, beside `SAME` of what rows that see each other differ by."""


def as_dataset(tokens: Tokens) -> datasets.Dataset:
    """`input_ids` and `labels` of every row, and at the end one of which nothing counts, for devices without a row."""
    fill = np.zeros(FILLER_TOKENS, dtype=np.int32)
    labels = np.where(tokens.counted, tokens.input_ids, IGNORED).astype(np.int32)
    start = np.append(tokens.start_N, tokens.start_N[-1] + FILLER_TOKENS).astype(np.int64)
    columns = {
        "input_ids": np.concatenate([tokens.input_ids, fill]),
        "labels": np.concatenate([labels, fill + IGNORED]),
    }
    lists = {name: pa.LargeListArray.from_arrays(start, pa.array(values)) for name, values in columns.items()}
    return datasets.Dataset(pa.table(lists))


def passes_per_step(batch_size: int, rows_at_once: int, world: int) -> int:
    """Passes of every device in a step, the same for all."""
    return math.ceil(batch_size / (rows_at_once * world))


def passes_of(
    tokens: Tokens,
    batches: Sequence[Int[np.ndarray, " _"]],
    passes: int,
    rank: int,
    world: int,
    packing: bool,
) -> list[list[int]]:
    """Rows of each pass of this device, all steps in order: rows of like length together, none more than once.

    Packed, every pass of a step gets about as many tokens. A pass without a row gets the filler.
    """
    lengths_N = tokens.lengths
    mine: list[list[int]] = []
    for rows_B in batches:
        if packing:
            shares = deal(lengths_N[rows_B], tokens.response_lengths[rows_B], passes * world)
        else:
            shares = np.array_split(np.argsort(-lengths_N[rows_B], kind="stable"), passes * world)
        mine += [rows_B[share].tolist() or [len(tokens)] for share in shares[rank::world]]
    return mine


@torch.no_grad()
def keeps_rows_apart(model: PreTrainedModel, dataset: datasets.Dataset, tokens: Tokens, collate: Any) -> bool:
    """Whether rows that stand end to end have the losses that each has alone, and not those of one long row.

    Tried on three rows. collate: puts rows end to end, with positions that begin anew.
    """
    by_length = np.argsort(tokens.lengths[:4096], kind="stable")
    rows = [dataset[int(row)] for row in by_length[np.linspace(0, len(by_length) // 2, 3).astype(np.int64)]]
    one = {name: [token for row in rows for token in row[name]] for name in ("input_ids", "labels")}
    was_training = model.training
    model.eval()
    try:
        together_R = _log_probabilities(model, collate(rows))
        alone_R = torch.cat([_log_probabilities(model, collate([row])) for row in rows])
        seen_R = _log_probabilities(model, collate([one]))
    except TypeError:  # a model that does not take positions
        return False
    finally:
        model.train(was_training)
    return bool((together_R - alone_R).abs().max() < NOISE + SAME * (seen_R - alone_R).abs().max())


def _log_probabilities(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Float[torch.Tensor, " R"]:
    given = {name: value for name, value in inputs.items() if name != "labels"}
    target_L = inputs["labels"][0, 1:]
    logits_LV = model(**given, use_cache=False).logits[0, :-1].float()
    counted = target_L != IGNORED
    log_RV = logits_LV[counted].log_softmax(dim=-1)
    log_R: Float[torch.Tensor, " R"] = log_RV.gather(1, target_L[counted, None])[:, 0]
    return log_R
