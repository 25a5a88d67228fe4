"""The theory of S2L, measured on a run, top to bottom: open the run → choose rows → gradients → trajectories.

The claim (arXiv 2403.07384): rows whose losses move alike on a small model have like gradients while a large
one is fine-tuned, so that a subset drawn from every cluster, weighted by cluster, has nearly the pool's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from transformers import PreTrainedModel

from s2l import __version__
from s2l.errors import DataError, RunFolderError, printable
from s2l.files import write_json
from s2l.ids import find_ids
from s2l.pipeline import finished
from s2l.progress import SILENT, Progress
from s2l.proxy import checkpoints
from s2l.proxy.stage import device_for, enough_memory
from s2l.scoring.projected import Sketch, projected_gradients
from s2l.theory.correlation import correlation
from s2l.theory.meangradient import MeanGradient, mean_gradients
from s2l.theory.run import Looked, Run, looked_at, opened
from s2l.theory.sample import beside_random, evenly
from s2l.theory.settings import VerifySettings
from s2l.theory.similarity import similarity
from s2l.theory.target import Target, checkpoints_in, find_target, losses, read_again, resolved
from s2l.types import Tokens

VERIFICATION = "verification.json"
PASSES = 3
"""Forward passes that a pass with gradients is worth."""
LEAST_ROWS = 4


@dataclass(frozen=True)
class Model:
    """A model whose gradients are measured, and the pool in its tokens. step: of the proxy, None for another model."""

    name: str
    step: int | None
    tokens: Tokens
    load: Callable[[], PreTrainedModel]

    def __str__(self) -> str:
        return printable(self.name) if self.step is None else f"{self.name} at step {self.step}"

    @property
    def short(self) -> str:
        """For a bar of progress, which reads a user's brackets as markup."""
        return "a larger model" if self.step is None else str(self)


@dataclass(frozen=True)
class Trained:
    """A larger model's checkpoints, in order of step, and the pool in its tokens."""

    target: Target
    checkpoints: Sequence[tuple[int, Path]]


def verify(path: Path, asked: VerifySettings, progress: Progress = SILENT) -> dict[str, Any]:
    """What theory says of the run in `path`, measured; returns it, and keeps it as RUN/verification.json.

    Nothing is trained and nothing else in the run changes. Eval mode, float32; the same for a seed up to floating-point
    noise.
    """
    device = device_for(asked.device)
    with finished(path) as (folder, made):
        run = opened(folder, made, progress)
        looked = looked_at(run, asked, progress)
        targets, trained = larger_models(run, asked, progress)
        models = [*proxies(run, asked.checkpoints, device), *(_model(target, device) for target in targets)]
        batch_tokens = asked.batch_tokens or run.plan.batch_tokens
        progress.note(cost(models, looked, asked.draws))
        if trained:
            progress.note(f"losses of {len(looked.plain):,} rows by {len(trained.checkpoints)} checkpoints come on top")
        with run.plan.cpu_threads(), enough_memory(batch_tokens):
            found = {
                "s2l": __version__,
                "asked": asked.model_dump(mode="json") | {"seed": looked.seed},
                "rows": _counts(run, looked),
                "sketch": {
                    "dimensions": asked.dimensions,
                    "standard_errors": Sketch(looked.seed, asked.dimensions).errors,
                },
                "models": [measure(model, run, looked, asked, batch_tokens, progress) for model in models],
                "trajectories": trained and compare(trained, run, looked, device, batch_tokens, progress),
            }
        write_json(folder.path / VERIFICATION, found)
        return found


def larger_models(run: Run, asked: VerifySettings, progress: Progress) -> tuple[list[Target], Trained | None]:
    """The models that are named, and the one whose checkpoints are."""
    if not asked.model and asked.target_checkpoints is None:
        return [], None
    steps = checkpoints_in(Path(asked.target_checkpoints)) if asked.target_checkpoints is not None else []
    folders = [(name, resolved(name)) for name in asked.model]
    pool = read_again(run.settings, run.folder.claimed(), progress)
    tokenizer = run.folder.tokenizer
    targets = [find_target(name, folder, pool, run.settings, tokenizer, progress) for name, folder in folders]
    if asked.target_checkpoints is None:
        return targets, None
    last = find_target(asked.target_checkpoints, steps[-1][1], pool, run.settings, tokenizer, progress)
    return targets, Trained(last, steps)


def proxies(run: Run, count: int, device: torch.device) -> list[Model]:
    """The proxy at so many checkpoints, evenly picked; RunFolderError where one is gone."""
    models = []
    for step in evenly(run.recorded.trajectories.steps, count):
        if (found := checkpoints.find(run.folder.proxy, step)) is None:
            raise RunFolderError(f"{run.folder.proxy}: the checkpoint at step {step} is gone; it is needed to verify")
        models.append(Model("the proxy", step, run.tokens, partial(checkpoints.load_model, found, device)))
    return models


def cost(models: Sequence[Model], looked: Looked, draws: int) -> str:
    """What the gradients take, in forward passes over the pool, one line."""
    rows = len(looked.pairs) + sum((2 + draws) * int(kept_P.sum()) for kept_P in looked.budgets.values())
    rows += len(looked.pool) if looked.budgets else 0
    passes = PASSES * rows / len(looked.pool)
    return (
        f"gradients take about as much as {passes:.1f} forward passes over {len(looked.pool):,} rows by each of: "
        f"{', '.join(map(str, models))}"
    )


def measure(
    model: Model, run: Run, looked: Looked, asked: VerifySettings, batch_tokens: int, progress: Progress
) -> dict[str, Any]:
    """One model: are gradients more alike inside clusters (and sources), is the subset's mean near the pool's?"""
    loaded, tokens = model.load(), model.tokens
    sample, rows = those_in(tokens, run.ids, looked.pairs, str(model))
    sketch = Sketch(looked.seed, asked.dimensions)
    with progress.stage(f"gradients, {model.short}", int(tokens.lengths[rows].sum()), "tokens") as advance:
        gradients_nD = projected_gradients(loaded, tokens, rows, sketch, batch_tokens, run.plan.threads, advance)
    alike = partial(similarity, gradients_nD, ids=run.ids[sample], seed=looked.seed)
    clusters, sources = alike(group_N=run.cluster_N[sample]), alike(group_N=run.recorded.source_N[sample])
    means = means_of(loaded, model, run, looked, asked.draws, batch_tokens, progress) if looked.budgets else ()
    return {
        "model": model.name,
        "step": model.step,
        "rows": len(rows),
        "not_scorable": len(looked.pairs) - len(rows),
        "clusters": clusters and asdict(clusters) | {"sentence": clusters.sentence("cluster")},
        "sources": sources and asdict(sources) | {"sentence": sources.sentence("source")},
        "mean_gradient": [_told(mean) for mean in means],
    }


def means_of(
    loaded: PreTrainedModel,
    model: Model,
    run: Run,
    looked: Looked,
    draws: int,
    batch_tokens: int,
    progress: Progress,
) -> tuple[MeanGradient, ...]:
    """The mean gradient of S2L's subsets and of random ones against the pool's, of the rows this model can score."""
    pool, rows = those_in(model.tokens, run.ids, looked.pool, str(model))
    here_P = np.isin(looked.pool, pool)
    subsets = []
    for budget, kept_P in looked.budgets.items():
        kept = kept_P[here_P]
        if not kept.any():
            raise DataError(f"{model}: no row of the subset of {budget} can be scored with its tokenizer")
        subsets.append(beside_random(budget, run.cluster_N[pool], kept, run.ids[pool], draws, looked.seed))
    lengths_P = model.tokens.lengths[rows]
    total = int(lengths_P.sum()) + sum(int(lengths_P[weight_P > 0].sum()) for s in subsets for weight_P in s.weights)
    with progress.stage(f"mean gradient, {model.short}", total, "tokens") as advance:
        return mean_gradients(loaded, model.tokens, rows, subsets, batch_tokens, run.plan.threads, advance)


def compare(
    trained: Trained, run: Run, looked: Looked, device: torch.device, batch_tokens: int, progress: Progress
) -> dict[str, Any]:
    """Trajectories of a plain sample of rows: by the proxy as recorded, and by the larger model's checkpoints."""
    target, proxy = trained.target, run.recorded.trajectories
    sample, rows = those_in(target.tokens, run.ids, looked.plain, printable(target.name))
    total = len(trained.checkpoints) * int(target.tokens.lengths[rows].sum())
    columns, steps = [], []
    with progress.stage("trajectories of the larger model", total, "tokens") as advance:
        for step, folder in trained.checkpoints:
            columns.append(losses(target.load(device, folder), target.tokens, rows, batch_tokens, advance))
            steps.append(step)
    target_NS = np.stack(columns, axis=1).astype(np.float64)
    found = correlation(proxy.mean("nll", sample), proxy.steps, target_NS, steps, run.ids[sample], looked.seed)
    return {
        "model": target.name,
        "rows": found.rows,
        "not_scorable": len(looked.plain) - len(rows),
        "checkpoints": [asdict(at) | {"sentence": at.sentence} for at in found.checkpoints],
        "over_time": found.over_time and asdict(found.over_time) | {"sentence": found.over_time.sentence},
    }


def those_in(
    tokens: Tokens, ids: Shaped[np.ndarray, " N"], sample: Int[np.ndarray, " n"], model: str
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Of the sample, the rows that these tokens have too, and where they stand in them; DataError below four."""
    rows, there = find_ids(ids[sample], tokens.ids)
    if there.sum() < LEAST_ROWS:
        raise DataError(
            f"{model}: its tokenizer leaves {there.sum()} of {len(sample)} rows that can be scored: too few"
        )
    return sample[there], rows[there]


def _model(target: Target, device: torch.device) -> Model:
    return Model(target.name, None, target.tokens, partial(target.load, device))


def _told(mean: MeanGradient) -> dict[str, Any]:
    ranks = {"rank_unweighted": mean.rank(mean.unweighted), "rank_weighted": mean.rank(mean.weighted)}
    return asdict(mean) | ranks | {"sentences": list(mean.sentences)}


def _counts(run: Run, looked: Looked) -> dict[str, int]:
    sizes_K = np.bincount(run.cluster_N)
    return {
        "scorable": len(run.ids),
        "clusters": len(sizes_K),
        "clusters_of_one_row": int((sizes_K == 1).sum()),
        "pairs": len(looked.pairs),
        "clusters_of_pairs": len(np.unique(run.cluster_N[looked.pairs])),
        "plain": len(looked.plain),
        "pool": len(looked.pool),
    }
