"""The model that is judged, with its own tokenizer, and questions in the words of the template it was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from s2l.config import PoolSettings, TokenSettings
from s2l.data.encode import encode_chat, encode_plain, probe_tokenizer
from s2l.data.pool import read_pool
from s2l.data.prepare import check_unicode, rendered
from s2l.data.templates import RowError, Segment, choose_template
from s2l.data.tokens import tokenize
from s2l.errors import DataError, S2LError, SettingsError
from s2l.files import read_record
from s2l.progress import Progress
from s2l.proxy.load import digest
from s2l.proxy.stage import device_for
from s2l.target.evaluate_settings import EvaluateSettings
from s2l.target.model import TRAINED_ON, find_model, load_model, template_in, tokenizer_in
from s2l.types import Example, Pool, Tokens, Turn

MAX_LENGTH = 512
QUESTIONS = frozenset({"alpaca", "short", "chat", "turns"})
"""Templates that can put a question."""
ANSWERED = Turn("assistant", "0", trained=True)


@dataclass(frozen=True)
class Evaluated:
    """A model on its device, in float32 and evaluation mode.

    template: alpaca, short, chat or turns. window: tokens that it reads at most. ends: ids that end an answer.
    digest: of its files. reading: how files of rows are read, None for the usual way.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    template: str
    max_length: int
    window: int
    ends: tuple[int, ...]
    digest: str
    reading: PoolSettings | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What a record says of it."""
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        embedding = self.model.get_input_embeddings()
        assert isinstance(embedding, torch.nn.Embedding)
        facts = {name: getattr(self, name) for name in ("name", "digest", "template", "max_length", "window")}
        return facts | {"parameters": parameters, "embedding_parameters": embedding.weight.numel()}

    def prompt(self, turns: Sequence[Turn], tools: str | None = None) -> list[Segment]:
        """What stands before the answer to these turns, earlier answers among them, as in training."""
        asked = Example((*(replace(turn, trained=False) for turn in turns), ANSWERED), tools)
        segments = _rendered(asked, self.template, self.tokenizer)
        return segments[: next(place for place, segment in enumerate(segments) if segment.counted)]

    def encode(self, prompts: Sequence[Sequence[Segment]]) -> list[Int[np.ndarray, " _"]]:
        """The tokens of prompts, as in training."""
        way = encode_chat if self.template == "chat" else encode_plain
        return [ids for ids, _ in way(prompts, probe_tokenizer(self.tokenizer)).rows()]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an output."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def read(self, paths: Sequence[str], progress: Progress) -> tuple[Pool, Tokens]:
        """The rows of files, and those that have a loss, in this model's tokens."""
        pool = read_pool(read_as(paths, self.reading), progress)
        for notice in pool.notices:
            progress.note(notice)
        without_turns = pool.format in {"text", "tokenized"}
        settings = TokenSettings(
            template="auto" if without_turns else "chat" if self.template == "turns" else self.template,
            max_length=self.max_length,
            tokenizer=self.name,
        )
        return pool, tokenize(pool, self.tokenizer, settings, builtin=self.template == "turns", progress=progress)


def read_as(paths: Sequence[str], reading: PoolSettings | None) -> PoolSettings:
    """These files, with the columns, shape and filter of `reading`."""
    files = {"paths": tuple(paths), "config": None, "split": "train", "revision": None, "repeats": "keep"}
    return PoolSettings(paths=tuple(paths)) if reading is None else reading.model_copy(update=files)


def opened(name: str, settings: EvaluateSettings, reading: PoolSettings | None = None) -> Evaluated:
    """The model of that name: a hub id, a folder, or what a training left; SettingsError where it will not do."""
    device = device_for(settings.device)
    try:
        folder = find_model(name, settings.revision)
    except S2LError as error:
        raise type(error)(str(error).removeprefix("--model ")) from None
    tokenizer = tokenizer_in(folder)
    trained = template_in(folder)
    learned = trained if trained in QUESTIONS else None  # rows without turns had none
    asked = settings.template if settings.template != "auto" or learned is None else learned
    template, _ = choose_template("pair", "chat" if asked == "turns" else asked, tokenizer, builtin=asked == "turns")
    record = read_record(folder / TRAINED_ON) if (folder / TRAINED_ON).is_file() else {}
    max_length = settings.max_length or int(record.get("max_length", MAX_LENGTH))
    model = load_model(folder, tokenizer, settings.max_length or 2)
    window = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**20)
    torch.nn.Module.to(model, device)
    return Evaluated(
        name,
        model.eval(),
        tokenizer,
        template,
        min(max_length, window),
        window,
        _ends(template, tokenizer, model),
        digest(folder),
        reading,
    )


def _ends(template: str, tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel) -> tuple[int, ...]:
    """The tokenizer's end token, the model's own, and what the chat template writes behind an answer."""
    own = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends = [tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    if template == "chat":
        segments = _rendered(Example((Turn("user", "0"), ANSWERED)), template, tokenizer)
        ((ids, counted),) = encode_chat([segments], probe_tokenizer(tokenizer)).rows()
        last = int(ids[counted][-1])
        ends.append(last if last in tokenizer.added_tokens_decoder else None)
    return tuple(dict.fromkeys(int(end) for end in ends if end is not None))


def check_row(place: str, *texts: str) -> None:
    """DataError, with the row's place, where UTF-8 cannot write one of its texts."""
    try:
        check_unicode(*texts)
    except RowError as error:
        raise DataError(f"{place}: {error}; mend the row") from None


def text_of(segments: Sequence[Segment]) -> str:
    """A prompt as a person reads it."""
    return "".join(segment.text for segment in segments)


def _rendered(example: Example, template: str, tokenizer: PreTrainedTokenizerFast) -> list[Segment]:
    try:
        return rendered(example, template, tokenizer)
    except S2LError as error:
        raise SettingsError(f"--template {template}: {error}") from None
