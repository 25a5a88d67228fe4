"""Rows → right-padded batches of similar length: which rows go together, and the arrays a model reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from s2l.types import Tokens

LOGITS_AT_ONCE = 2**27


@dataclass(frozen=True)
class Batch:
    """B rows padded on the right to L tokens, and their R counted tokens.

    No attention mask: causal attention never sees what stands to the right, and the mask of the loss is by position.
    position_R: index into the flattened (B · L) hidden states of the one that predicts each counted token.
    count_B: counted tokens of each row; row b owns the next `count_B[b]` entries of the R.
    """

    rows_B: Int[np.ndarray, " B"]
    input_ids_BL: Int[torch.Tensor, "B L"]
    position_R: Int[torch.Tensor, " R"]
    target_R: Int[torch.Tensor, " R"]
    count_B: Int[np.ndarray, " B"]

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`; a GPU is sent them while it computes."""

        def sent(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

        return Batch(self.rows_B, sent(self.input_ids_BL), sent(self.position_R), sent(self.target_R), self.count_B)


def tokens_at_once(batch_tokens: int, max_length: int, vocabulary: int) -> int:
    """Tokens of one forward pass: as asked, but no more than keeps (tokens × vocabulary) logits within 512 MiB."""
    return max(max_length, min(batch_tokens, LOGITS_AT_ONCE // vocabulary))


def group_by_length(
    lengths: Sequence[int] | Int[np.ndarray, " n"], batch_tokens: int
) -> Iterator[Int[np.ndarray, " B"]]:
    """Indices in batches of at most `batch_tokens` padded tokens (one row at least), longest rows first."""
    lengths_n = np.asarray(lengths)
    order = np.argsort(-lengths_n, kind="stable")
    start = 0
    while start < len(order):
        rows_at_once = max(1, batch_tokens // int(lengths_n[order[start]]))
        yield order[start : start + rows_at_once]
        start += rows_at_once


def collate(tokens: Tokens, rows_B: Int[np.ndarray, " B"], round_to: int = 1) -> Batch:
    """The rows as one batch, padded to a multiple of `round_to` with id 0, which no position that counts ever reads."""
    start_B = tokens.start_N[rows_B]
    lengths_B = tokens.start_N[rows_B + 1] - start_B
    column_L = np.arange(-(-int(lengths_B.max()) // round_to) * round_to)
    inside_BL = column_L < lengths_B[:, None]
    at_BL = np.where(inside_BL, start_B[:, None] + column_L, 0)
    input_ids_BL = np.where(inside_BL, tokens.input_ids[at_BL], 0).astype(np.int64)
    counted_BL = tokens.counted[at_BL] & inside_BL
    counted_at = np.flatnonzero(counted_BL)
    return Batch(
        rows_B=np.asarray(rows_B),
        input_ids_BL=torch.from_numpy(input_ids_BL),
        position_R=torch.from_numpy(counted_at - 1),
        target_R=torch.from_numpy(input_ids_BL.reshape(-1)[counted_at]),
        count_B=counted_BL.sum(axis=1),
    )
