"""What a run can tell of its rows beside their losses: recorded when a method first asks, then kept with the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.data.tokens import load_tokens
from s2l.errors import RunFolderError
from s2l.files import read_record
from s2l.progress import Advance, Progress
from s2l.proxy import checkpoints
from s2l.proxy.checkpoints import load_model
from s2l.proxy.load import load_tokenizer
from s2l.proxy.plan import PLAN, Plan
from s2l.run_folder import RunFolder
from s2l.scoring.embed import Pooling, embed
from s2l.scoring.gradients import Scope, gradient_norms
from s2l.scoring.score import Scorer, score
from s2l.scoring.setup import kept_scorer
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
    def tokens(self) -> Tokens:
        """Of the rows."""
        return load_tokens(self.run.tokens)

    @cached_property
    def scorer(self) -> Scorer:
        """How the run's losses were scored, in float32."""
        plan = Plan.from_json(read_record(self.run.proxy / PLAN))
        return replace(kept_scorer(plan, self.run.trajectories), precision="float32")

    @cached_property
    def begin(self) -> int:
        """The token that a response alone begins with: the beginning of a text, or the end of the one before."""
        tokenizer = load_tokenizer(self.run.tokenizer)
        begin: int = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        return begin

    def checkpoint(self, column: int) -> Checkpoint:
        """The checkpoint of the column; RunFolderError where it is gone."""
        found = checkpoints.find(self.run.proxy, step := self.steps[column])
        if found is None:
            raise RunFolderError(f"{self.run.proxy}: the checkpoint at step {step} is gone; the method needs it")
        return found

    def embeddings(self, pooling: Pooling, column: int) -> Float[np.ndarray, "N D"]:
        """Mean of the last hidden states at the checkpoint of this column."""

        def compute(model: PreTrainedModel, rows: Int[np.ndarray, " n"], advance: Advance) -> np.ndarray:
            return embed(model, self.tokens, rows, pooling, self.scorer.batch_tokens, advance)

        return self._recorded(f"embeddings-{pooling}", column, compute, passes=1)

    def gradient_norms(self, scope: Scope, column: int) -> Float[np.ndarray, " N"]:
        """GraNd at the checkpoint of this column."""

        def compute(model: PreTrainedModel, rows: Int[np.ndarray, " n"], advance: Advance) -> np.ndarray:
            return gradient_norms(model, self.tokens, rows, scope, self.scorer.batch_tokens, advance)[:, None]

        passes = GRADIENT_PASSES if scope == "all" else 1
        return self._recorded(f"gradient-norm-{scope}", column, compute, passes)[:, 0]

    def losses_alone(self, column: int) -> Float[np.ndarray, " N"]:
        """Loss of the response without its prompt, nats per response token, at the checkpoint of this column."""
        alone = response_alone(self.tokens, self.begin)

        def compute(model: PreTrainedModel, rows: Int[np.ndarray, " n"], advance: Advance) -> np.ndarray:
            sums_Sn = score(model, alone, rows, self.scorer, advance)
            losses_n: Float[np.ndarray, " n"] = sums_Sn[STATISTICS.index("nll")] / alone.response_lengths[rows]
            return losses_n[:, None]

        return self._recorded("loss-alone", column, compute, passes=1, tokens=alone)[:, 0]

    def _recorded(
        self, name: str, column: int, compute: Compute, passes: int, tokens: Tokens | None = None
    ) -> Float[np.ndarray, "N D"]:
        checkpoint, folder = self.checkpoint(column), self.run.representations / name
        items = store.work_items(len(self.tokens), checkpoint)
        todo = [item for item in items if not vectors.is_done(item, folder, self.tokens.ids)]
        if todo:
            lengths_N = (tokens or self.tokens).lengths
            total = sum(int(lengths_N[item.rows.start : item.rows.stop].sum()) for item in todo)
            self.progress.note(
                f"{name} at step {checkpoint.step} is not recorded yet: it takes as much as {passes} of the run's "
                f"{len(self.steps)} recordings, once"
            )
            model = load_model(checkpoint, self.scorer.device)
            with self.progress.stage(f"record {name}", total, "tokens") as advance:
                for item in todo:
                    rows = np.arange(item.rows.start, item.rows.stop)
                    vectors.write_item(item, folder, self.tokens.ids, compute(model, rows, advance))
        return vectors.load(items, folder, self.tokens.ids)


def response_alone(tokens: Tokens, begin: int) -> Tokens:
    """Each row's response tokens behind `begin`: the same tokens count, nothing else is read."""
    count_N = tokens.response_lengths
    start_N = np.concatenate([[0], np.cumsum(count_N + 1)])
    first = np.zeros(start_N[-1], dtype=bool)
    first[start_N[:-1]] = True
    input_ids = np.full(start_N[-1], begin, dtype=tokens.input_ids.dtype)
    input_ids[~first] = tokens.input_ids[tokens.counted]
    return replace(tokens, input_ids=input_ids, counted=~first, start_N=start_N)
