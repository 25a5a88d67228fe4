"""Greedy outputs for many prompts: batches of similar length, padded on the left, each ended by an end token."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from transformers import GenerationConfig, PreTrainedModel

from s2l.progress import Advance
from s2l.proxy.quiet import quiet
from s2l.scoring.precision import plain_kernels
from s2l.scoring.workers import each_alone


@dataclass(frozen=True)
class Output:
    """The tokens that were written, without the end token. ended: there was one. read: the prompt was in the window."""

    ids: tuple[int, ...]
    ended: bool
    read: bool = True


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Int[np.ndarray, " _"]],
    most: int,
    *,
    ends: Sequence[int],
    window: int,
    batch_tokens: int,
    workers: int = 1,
    advance: Advance = lambda _prompts: None,
) -> list[Output]:
    """The most probable next token, until an end token, `most` tokens or the end of the window; an output a prompt.

    A prompt that fills the window gets an empty output, marked as not read. On a CPU each of the `workers` takes a
    batch alone.
    """
    outputs: list[Output] = [Output((), ended=False, read=False)] * len(prompts)
    device = model.device

    def work(batch: tuple[list[int], int]) -> list[Output]:
        members, room = batch
        ids_BL, mask_BL = padded([prompts[row] for row in members])
        config = GenerationConfig(
            max_new_tokens=room, do_sample=False, num_beams=1, eos_token_id=list(ends) or None, pad_token_id=0
        )
        generator: Any = model
        with torch.inference_mode():
            written_BL = generator.generate(
                input_ids=ids_BL.to(device), attention_mask=mask_BL.to(device), generation_config=config
            )
        return [until_end(row, ends) for row in written_BL[:, ids_BL.shape[1] :].tolist()]

    todo = list(batches([len(prompt) for prompt in prompts], most, window, batch_tokens))
    before, model.generation_config = model.generation_config, GenerationConfig()
    try:
        with quiet(), plain_kernels(device.type, "float32"):
            found: Generator[list[Output]]
            found = each_alone(work, todo, workers) if device.type == "cpu" else (work(batch) for batch in todo)
            with closing(found):
                for (members, _), written in zip(todo, found, strict=True):
                    for row, output in zip(members, written, strict=True):
                        outputs[row] = output
                    advance(len(members))
    finally:
        model.generation_config = before
    advance(len(prompts) - sum(len(members) for members, _ in todo))
    return outputs


def batches(lengths: Sequence[int], most: int, window: int, batch_tokens: int) -> Iterator[tuple[list[int], int]]:
    """Rows that go together, the longest first, and how many tokens each may write.

    So many tokens are the same for every row of a batch, so that an output does not depend on its neighbours.
    """
    order = sorted((row for row in range(len(lengths)) if lengths[row] < window), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        room = min(most, window - longest)
        at_once = max(1, batch_tokens // (longest + room)) if room == most else 1
        yield order[start : start + at_once], room
        start += at_once


def padded(prompts: Sequence[Int[np.ndarray, " _"]]) -> tuple[Int[torch.Tensor, "B L"], Int[torch.Tensor, "B L"]]:
    """The prompts as one array, padded on the left with id 0, and which tokens are theirs."""
    width = max(map(len, prompts))
    ids_BL = np.zeros((len(prompts), width), dtype=np.int64)
    mask_BL = np.zeros((len(prompts), width), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        ids_BL[row, width - len(prompt) :] = prompt
        mask_BL[row, width - len(prompt) :] = 1
    return torch.from_numpy(ids_BL), torch.from_numpy(mask_BL)


def until_end(written: Sequence[int], ends: Sequence[int]) -> Output:
    """What stands before the first end token."""
    end = next((place for place, id_ in enumerate(written) if id_ in ends), None)
    return Output(tuple(written[:end]), ended=end is not None)
