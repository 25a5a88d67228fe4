"""What a run can tell of its rows beside their losses: recorded when a method first asks, then kept with the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from s2l.config import BUILTIN, WITHOUT_WEIGHTS, PoolSettings, RunSettings
from s2l.data.pool import layout_of, read_pool
from s2l.data.rows_file import place_of
from s2l.data.tokens import load_tokens, tokenize
from s2l.errors import DataError, RunFolderError, SettingsError
from s2l.files import read_record
from s2l.flags import validated
from s2l.progress import Advance, Progress
from s2l.proxy import checkpoints
from s2l.proxy.checkpoints import load_model
from s2l.proxy.load import NO_WEIGHTS, load_tokenizer
from s2l.proxy.memory import enough_memory, free_memory
from s2l.proxy.plan import PLAN, Plan
from s2l.proxy.retrain import trained_on
from s2l.run_folder import RunFolder
from s2l.scoring.embed import Pooling, embed
from s2l.scoring.gradients import Scope, gradient_norms
from s2l.scoring.score import Scorer, score
from s2l.scoring.setup import kept_scorer
from s2l.threads import on_all_cores
from s2l.trajectories import store, vectors
from s2l.types import STATISTICS, Checkpoint, Tokens

Compute = Callable[[PreTrainedModel, Int[np.ndarray, " n"], Advance], Float[np.ndarray, "n D"]]
GRADIENT_PASSES = 3
"""A backward pass takes about as much work as two forward passes."""


@dataclass(frozen=True)
class RunRepresentations:
    """The representations of a run's rows, in id order; `types.Representations` says what they are.

    steps: of the recorded checkpoints. What is read from the run's folder is read when a method first asks.
    """

    run: RunFolder
    steps: tuple[int, ...]
    progress: Progress

    @cached_property
    def settings(self) -> RunSettings:
        """That the run was made with."""
        return validated(self.run.claimed()["settings"])

    @cached_property
    def tokens(self) -> Tokens:
        """Of the rows."""
        return load_tokens(self.run.tokens)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The proxy's."""
        return load_tokenizer(self.run.tokenizer)

    @cached_property
    def plan(self) -> Plan:
        """Of the proxy's training."""
        return Plan.from_json(read_record(self.run.proxy / PLAN))

    @cached_property
    def scorer(self) -> Scorer:
        """How the run's losses were scored, in float32; one row at a time where its model must read them so."""
        scorer = replace(kept_scorer(self.plan, self.run.trajectories), precision="float32")
        return replace(scorer, batch_tokens=1) if scorer.path == "alone" else scorer

    def checkpoint(self, column: int) -> Checkpoint:
        """The checkpoint of the column; RunFolderError where it is gone, SettingsError where none was kept."""
        found = checkpoints.find(self.run.proxy, step := self.steps[column])
        if found is None:
            if self.settings.proxy.model in WITHOUT_WEIGHTS:
                raise SettingsError(NO_WEIGHTS)
            raise RunFolderError(f"{self.run.proxy}: the checkpoint at step {step} is gone; the method needs it")
        return found

    def folder_after(self, rows: Int[np.ndarray, " m"]) -> Path:
        """Where the proxy trained on these rows alone belongs; named by their ids, in whatever order."""
        digest = blake2b(self.tokens.ids[np.sort(rows)].tobytes(), digest_size=8).hexdigest()
        return self.run.representations / f"after-{digest}"

    def after(self, rows: Int[np.ndarray, " m"]) -> Checkpoint:
        """The proxy trained on these rows alone; trained when first asked for."""
        with enough_memory(self.scorer.batch_tokens):
            return trained_on(
                rows,
                self.tokens,
                self.tokenizer,
                self.settings.proxy,
                self.run.proxy,
                self.folder_after(rows),
                max_length=self.settings.tokens.max_length,
                seed=self.settings.seed,
                progress=self.progress,
                place=partial(place_of, self.run.rows),
            )

    def embeddings(self, pooling: Pooling, column: int) -> Float[np.ndarray, "N D"]:
        """Mean of the last hidden states at the checkpoint of this column."""
        folder = self.run.representations / f"embeddings-{pooling}"
        return self._recorded(folder, self.checkpoint(column), self._embedding(pooling))

    def embeddings_after(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "N D"]:
        """Mean of the last hidden states that predict the response, by the proxy trained on these rows alone."""
        checkpoint = self.after(rows)
        return self._recorded(checkpoint.path.with_name("embeddings-response"), checkpoint, self._embedding("response"))

    def example_embeddings(self, path: str, pooling: Pooling, column: int) -> Float[np.ndarray, "M D"]:
        """Of the rows in a file, in the order of their ids, at the checkpoint of this column; kept nowhere."""
        tokens = example_tokens(path, self.settings, self.tokenizer)
        with enough_memory(self.scorer.batch_tokens):
            model = load_model(self.checkpoint(column), self.scorer.device)
            every = np.arange(len(tokens))
            return embed(model, tokens, every, pooling, self.scorer.batch_tokens, self.scorer.workers)

    def gradient_norms(self, scope: Scope, column: int) -> Float[np.ndarray, " N"]:
        """GraNd at the checkpoint of this column."""

        def compute(model: PreTrainedModel, rows: Int[np.ndarray, " n"], advance: Advance) -> np.ndarray:
            batch_tokens, workers = self.scorer.batch_tokens, self.scorer.workers
            return gradient_norms(model, self.tokens, rows, scope, batch_tokens, workers, advance)[:, None]

        folder = self.run.representations / f"gradient-norm-{scope}"
        passes = GRADIENT_PASSES if scope == "all" else 1
        return self._recorded(folder, self.checkpoint(column), compute, passes)[:, 0]

    def losses_alone(self, column: int) -> Float[np.ndarray, " N"]:
        """Loss of the response without its prompt, nats per response token, at the checkpoint of this column."""
        end, begin = self.tokenizer.eos_token_id, self.tokenizer.bos_token_id
        alone = response_alone(self.tokens, end if begin is None else begin)
        folder = self.run.representations / "loss-alone"
        means_NS = self._recorded(folder, self.checkpoint(column), self._scoring(alone), tokens=alone)
        return means_NS[:, STATISTICS.index("nll")]

    def means_after(self, statistic: str, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " N"]:
        """A statistic per response token, by the proxy trained on these rows alone."""
        checkpoint = self.after(rows)
        means_NS = self._recorded(checkpoint.path.with_name("means"), checkpoint, self._scoring(self.tokens))
        return means_NS[:, STATISTICS.index(statistic)]

    def _embedding(self, pooling: Pooling) -> Compute:
        def compute(model: PreTrainedModel, rows: Int[np.ndarray, " n"], advance: Advance) -> np.ndarray:
            return embed(model, self.tokens, rows, pooling, self.scorer.batch_tokens, self.scorer.workers, advance)

        return compute

    def _scoring(self, tokens: Tokens) -> Compute:
        """All statistics per response token."""
        place = partial(place_of, self.run.rows)

        def compute(model: PreTrainedModel, rows: Int[np.ndarray, " n"], advance: Advance) -> np.ndarray:
            sums_Sn = score(model, tokens, rows, self.scorer, advance, place)
            means_nS: Float[np.ndarray, "n S"] = sums_Sn.T / tokens.response_lengths[rows, None]
            return means_nS

        return compute

    def _recorded(
        self, folder: Path, checkpoint: Checkpoint, compute: Compute, passes: int = 1, tokens: Tokens | None = None
    ) -> Float[np.ndarray, "N D"]:
        """What `compute` says of every row, from `folder`, where it is first put; it reads `tokens`, or the run's."""
        ids = self.tokens.ids
        items = store.work_items(len(ids), checkpoint)
        done = on_all_cores(lambda item: vectors.is_done(item, folder, ids), items)
        todo = [item for item, is_done in zip(items, done, strict=True) if not is_done]
        if todo:
            name = f"{folder.relative_to(self.run.representations)} at step {checkpoint.step}"
            self.progress.note(
                f"{name} is not recorded yet: it takes as much as {passes} of the run's {len(self.steps)} recordings, "
                "once"
            )
            lengths_N = (tokens or self.tokens).lengths
            total = sum(int(lengths_N[item.rows.start : item.rows.stop].sum()) for item in todo)
            free_memory()  # of what training left
            with enough_memory(self.scorer.batch_tokens):
                model = load_model(checkpoint, self.scorer.device)
                with self.progress.stage(f"record {folder.name}", total, "tokens") as advance:
                    for item in todo:
                        rows = np.arange(item.rows.start, item.rows.stop)
                        vectors.write_item(item, folder, ids, compute(model, rows, advance))
        return vectors.load(items, folder, ids)


def response_alone(tokens: Tokens, begin: int) -> Tokens:
    """Each row's response tokens behind `begin`: the same tokens count, nothing else is read."""
    count_N = tokens.response_lengths
    start_N = np.concatenate([[0], np.cumsum(count_N + 1)])
    first = np.zeros(start_N[-1], dtype=bool)
    first[start_N[:-1]] = True
    input_ids = np.full(start_N[-1], begin, dtype=tokens.input_ids.dtype)
    input_ids[~first] = tokens.input_ids[tokens.counted]
    return replace(tokens, input_ids=input_ids, counted=~first, start_N=start_N)


def example_tokens(path: str, made: RunSettings, tokenizer: PreTrainedTokenizerFast) -> Tokens:
    """The rows in a file, in id order, read and tokenized by the settings that the run was `made` with.

    Where the run's columns, shape or filter do not fit the file, its own shape is recognised. Raises DataError naming a
    row that cannot be read, or has no response token.
    """
    how = made.pool.model_copy(update={"paths": (path,), "source_column": None, "repeats": "keep", "bad_rows": "stop"})
    try:
        layout_of(how)
    except (DataError, SettingsError):
        how = PoolSettings(paths=(path,))
    pool = read_pool(how)
    tokens = tokenize(pool, tokenizer, made.tokens, builtin=made.proxy.model == BUILTIN)
    for row, id_ in enumerate(pool.rows.ids.tolist()):
        if id_ in tokens.excluded:
            raise DataError(f"{pool.rows.place(row)}: {tokens.excluded[id_]}; an example needs a response")
    return tokens
