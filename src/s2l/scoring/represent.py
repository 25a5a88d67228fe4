"""What a run can tell of its rows beside their losses: recorded when a method first asks, then kept with the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from s2l.progress import Advance, Progress
from s2l.proxy.checkpoints import load_model
from s2l.scoring.embed import Pooling, embed
from s2l.scoring.gradients import Scope, gradient_norms
from s2l.scoring.score import Scorer, score
from s2l.trajectories import store, vectors
from s2l.types import STATISTICS, Checkpoint, Tokens

Compute = Callable[[PreTrainedModel, Int[np.ndarray, " n"], Advance], Float[np.ndarray, "n D"]]
GRADIENT_PASSES = 3
"""A backward pass takes about as much work as two forward passes."""


@dataclass(frozen=True)
class RunRepresentations:
    """The representations of a run's rows, in id order; `types.Representations` says what they are.

    begin: the token that a response alone begins with. scorer: how the run's losses were scored.
    """

    tokens: Tokens
    checkpoints: Sequence[Checkpoint]
    scorer: Scorer
    begin: int
    folder: Path
    progress: Progress

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
        checkpoint, folder = self.checkpoints[column], self.folder / name
        items = store.work_items(len(self.tokens), checkpoint)
        todo = [item for item in items if not vectors.is_done(item, folder, self.tokens.ids)]
        if todo:
            lengths_N = (tokens or self.tokens).lengths
            total = sum(int(lengths_N[item.rows.start : item.rows.stop].sum()) for item in todo)
            self.progress.note(
                f"{name} at step {checkpoint.step} is not recorded yet: it takes as much as {passes} of the run's "
                f"{len(self.checkpoints)} recordings, once"
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
