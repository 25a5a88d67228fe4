"""A pool as it is read and tokenized, to be looked at: by a tokenizer alone, large pools by a sample of their rows."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from s2l.config import BUILTIN, RunSettings
from s2l.data.pool import read_pool
from s2l.data.templates import choose_template
from s2l.data.tokens import fitting_texts, tokenize
from s2l.errors import DataError, printable, without_quotes
from s2l.forecast.sample import rows_at, sampled
from s2l.progress import Progress
from s2l.types import Pool, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ROWS = 20_000
"""Rows that are tokenized of larger pools, unless all are asked for."""
UNCUT = 2**31 - 1
TOKENIZER_FILES = ["*.json", "*.model", "*.txt", "*.jinja"]
SEED = 0


@dataclass(frozen=True)
class Reading:
    """A pool, those of its rows that are looked at, and their tokens. examples: whether text of rows may be told."""

    pool: Pool
    looked_at: Pool
    settings: RunSettings
    tokenizer: PreTrainedTokenizerFast
    tokens: Tokens
    examples: bool

    @property
    def builtin(self) -> bool:
        """Whether the rows are written for the built-in proxy."""
        return self.settings.proxy.model == BUILTIN

    @property
    def template(self) -> str:
        """What the rows are written by."""
        return choose_template(self.pool.format, self.settings.tokens.template, self.tokenizer, self.builtin)[0]

    @cached_property
    def reasons(self) -> dict[int, str]:
        """Why rows of the pool are excluded, in file order: all that reading left out, and what tokenizing did."""
        ids, reasons = self.pool.rows.ids, {**self.pool.rows.excluded, **self.tokens.excluded}
        rows = np.flatnonzero(np.isin(ids, np.array(list(reasons), dtype=ids.dtype)))
        return {row: reasons[bytes(ids[row])] for row in rows.tolist()}

    def unreadable(self, row: int) -> bool:
        """Whether it was reading that left the row out."""
        return bytes(self.pool.rows.ids[row]) in self.pool.rows.excluded

    def uncut(self, row: int) -> tuple[Tokens | None, str | None]:
        """All tokens of the row; or why it has none."""
        at = np.array([row])
        alone = replace(self.pool, rows=rows_at(self.pool.rows, at), contents=self.pool.contents.take(pa.array(at)))
        settings = self.settings.tokens.model_copy(update={"max_length": UNCUT})
        try:
            return tokenize(alone, self.tokenizer, settings, builtin=self.builtin), None
        except DataError as error:
            return None, str(error)

    def said(self, text: str) -> str:
        """A message, without what it quotes of a row where no text may be told."""
        return printable(text) if self.examples else without_quotes(printable(text))


def read_as(settings: RunSettings, every: bool, examples: bool, progress: Progress) -> Reading:
    """The pool as `run` would read it, but that a malformed row does not stop it; a tokenizer is fitted on all rows.

    every: tokenize all rows of a large pool, not a keyed sample. Raises what `run` would raise.
    """
    try:
        pool = read_pool(settings.pool.model_copy(update={"bad_rows": "exclude"}), progress)
        tokenizer = tokenizer_for(pool, settings)
        looked_at = pool if every or len(pool) <= ROWS else sampled(pool, ROWS, SEED)
        builtin = settings.proxy.model == BUILTIN
        tokens = tokenize(looked_at, tokenizer, settings.tokens, builtin=builtin, progress=progress)
    except DataError as error:
        raise error if examples else DataError(without_quotes(str(error))) from None
    return Reading(pool, looked_at, settings, tokenizer, tokens, examples)


def tokenizer_for(pool: Pool, settings: RunSettings) -> PreTrainedTokenizerFast:
    """The proxy's tokenizer; the one named, or fitted on the pool, for the built-in proxy. No weights are fetched."""
    from s2l.proxy import builtin, load

    proxy, named = settings.proxy, settings.tokens.tokenizer
    if proxy.model != BUILTIN:
        return load.load_tokenizer(_files_of(proxy.model, proxy.revision))
    if named is not None:
        return load.load_tokenizer(_files_of(named, None))
    return builtin.fit_tokenizer(fitting_texts(pool, settings.tokens), proxy.vocabulary)


def _files_of(name: str, revision: str | None) -> Path:
    """The local folder, or that of the hub's tokenizer files alone; raises what `proxy.load.resolve` raises."""
    from huggingface_hub import snapshot_download

    from s2l.proxy.load import resolve
    from s2l.proxy.quiet import quiet

    if not Path(name).is_dir():
        with suppress(OSError, ValueError), quiet():
            return Path(snapshot_download(name, revision=revision, allow_patterns=TOKENIZER_FILES))
    return resolve(name, revision)
