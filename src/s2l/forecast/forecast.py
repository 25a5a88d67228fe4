"""The forecast, top to bottom: read → tokenize a sample → train and score a little → what the whole run would cost.

Everything is measured with the run's own functions, in a temporary folder that is gone at the end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Int

from s2l import __version__
from s2l.config import BUILTIN, RunSettings
from s2l.data.rows_file import save_rows
from s2l.data.tokens import fitting_texts, load_tokens, save_tokens, tokenize
from s2l.forecast import flops, needs, probe
from s2l.forecast.choosing import choosing, exporting
from s2l.forecast.flops import Amount, amount_of, shape_of
from s2l.forecast.needs import LARGEST, Disk, Memory, Proxy
from s2l.forecast.sample import sampled, usable_rows
from s2l.forecast.target import EPOCHS, PAPERS, Budgeted, Cost, costs, worthwhile
from s2l.pipeline import read_from
from s2l.progress import SILENT, Progress
from s2l.provenance import peak_memory
from s2l.proxy import load
from s2l.proxy.checkpoints import load_model
from s2l.proxy.plan import Plan
from s2l.proxy.stage import device_for, enough_memory, proxy_tokenizer
from s2l.run_folder import RunFolder
from s2l.selection.budget import Budget, resolve
from s2l.selection.keep import read_keep
from s2l.selection.select import check, settled
from s2l.types import Pool, Tokens

SAMPLE_ROWS = 20_000


@dataclass(frozen=True)
class Stage:
    """Seconds of one stage of the run, under the name it has in the manifest, and what they were made of."""

    name: str
    seconds: float
    basis: str


@dataclass(frozen=True)
class Forecast:
    """What the run would cost. Of a pool beyond `sampled` rows, what depends on tokens is scaled from the sample.

    read, excluded: rows. one_pass: over all rows that can be scored. truncated: share of them cut at max_length.
    train_flops, score_flops: of the proxy, over the whole run. worthwhile: of each budget, parameters of the target
    from which on selecting and training on the subset is cheaper than training on all rows, for equal epochs.
    """

    settings: RunSettings
    read: int
    excluded: int
    sampled: int
    one_pass: Amount
    truncated: float
    proxy: Proxy
    stages: tuple[Stage, ...]
    train_flops: float
    score_flops: float
    disk: Disk
    memory: Memory
    budgets: tuple[Budgeted, ...]
    worthwhile: tuple[float | None, ...]
    targets: tuple[Cost, ...]

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """The forecast as JSON types."""
        told = asdict(self) | {"settings": self.settings.model_dump(mode="json")}
        return {
            "s2l": __version__,
            **told,
            "seconds": self.seconds,
            "disk": asdict(self.disk) | {"at_the_end": self.disk.at_the_end, "at_most": self.disk.at_most},
            "memory": asdict(self.memory) | {"peak": self.memory.peak},
            "target_epochs": EPOCHS,
        }


def forecast(settings: RunSettings, targets: Sequence[int] = PAPERS, progress: Progress = SILENT) -> Forecast:
    """What `run` with these settings would cost on this machine, for targets of so many parameters.

    Raises what `run` would raise for the same mistake.
    """
    settings = settings.model_copy(update={"select": settled(settings.select)})
    device_for(settings.proxy.device)
    with TemporaryDirectory(prefix="s2l-forecast-") as scratch:
        folder = RunFolder(Path(scratch))
        pool, reading = _read(settings, progress)
        usable = usable_rows(pool.rows)
        tokens, tokenizing = _tokenized(pool, len(usable), settings, folder, progress)
        scale = len(usable) / (len(tokens) + len(tokens.excluded))
        one_pass = amount_of(tokens).times(scale)
        budgets = _budgets(pool, usable, tokens, scale, settings)

        run_plan = probe.settled_plan(round(one_pass.rows), settings.proxy, settings.seed)
        tokenizer = load.load_tokenizer(folder.tokenizer)
        with enough_memory(settings.proxy.batch_tokens):
            with progress.stage("measure training", None, "tokens"):
                trained = probe.training(tokens, tokenizer, settings, run_plan.steps, folder.proxy)
            with progress.stage("measure scoring", None, "tokens"):
                response_tokens = one_pass.response_tokens * len(run_plan.saves)
                scored = probe.scoring(tokens, trained, settings, folder.trajectories, response_tokens)
        model = load_model(trained.checkpoint, device_for("cpu"))
        shape, parameters = shape_of(model), model.num_parameters()
        del model
        with progress.stage("measure the choice", None, "rows"):
            largest = max(budgets, key=lambda asked: asked.rows)
            looked, chosen = choosing(pool.rows, usable, run_plan.saves, budgets, settings)
            exported = exporting(pool, usable, largest, settings, folder.subsets / LARGEST)

        passes = run_plan.steps / ceil(one_pass.rows / run_plan.batch_size)
        checkpoints = len(run_plan.saves) + settings.proxy.initial_checkpoint
        proxy = _proxy(settings, parameters, run_plan, trained.plan)
        subsets = len(budgets) * (1 + settings.select.with_random)
        train_flops = flops.training(shape, one_pass.times(passes))
        score_flops = flops.forward(shape, one_pass.times(checkpoints))
        selection = train_flops + score_flops
        stages = (
            reading,
            tokenizing,
            _training(trained.pace, one_pass.tokens * passes, len(run_plan.saves)),
            _recording(scored, one_pass.tokens, checkpoints),
            Stage("signal", looked, "measured on made-up losses"),
            Stage("cluster and draw", chosen, "measured on made-up losses"),
            Stage("export", exported * subsets, f"measured; {_many(subsets, 'subset')}"),
        )
        return Forecast(
            settings=settings,
            read=len(pool),
            excluded=len(pool) - round(one_pass.rows),
            sampled=len(tokens) + len(tokens.excluded),
            one_pass=one_pass,
            truncated=float(tokens.truncated_N.mean()),
            proxy=proxy,
            stages=stages,
            train_flops=train_flops,
            score_flops=score_flops,
            disk=needs.disk(folder, trained.checkpoint, len(pool), one_pass.rows, scale, proxy, budgets, settings),
            memory=needs.memory(peak_memory(), len(tokens), one_pass, checkpoints),
            budgets=budgets,
            worthwhile=tuple(worthwhile(asked, one_pass.tokens, selection) for asked in budgets),
            targets=costs(targets, budgets, one_pass.tokens, selection),
        )


def _read(settings: RunSettings, progress: Progress) -> tuple[Pool, Stage]:
    start = time.perf_counter()
    pool = read_from(settings.pool, None, progress)
    seconds = time.perf_counter() - start
    for notice in pool.notices:
        progress.note(notice)
    return pool, Stage("read", seconds, "measured on the whole pool")


def _tokenized(
    pool: Pool, usable: int, settings: RunSettings, folder: RunFolder, progress: Progress
) -> tuple[Tokens, Stage]:
    """The tokens of a sample, stored as a run stores them; the tokenizer itself is fitted on the whole pool."""
    builtin = settings.proxy.model == BUILTIN
    if not builtin:
        load.resolve(settings.proxy.model, settings.proxy.revision)
    start = time.perf_counter()
    texts = fitting_texts(pool, settings.tokens)
    tokenizer = proxy_tokenizer(settings.proxy, settings.tokens, texts, folder.tokenizer)
    fitted = time.perf_counter() - start
    sample = sampled(pool, SAMPLE_ROWS, settings.seed)
    start = time.perf_counter()
    tokens = tokenize(sample, tokenizer, settings.tokens, builtin=builtin, progress=progress)
    save_tokens(tokens, folder.tokens)
    save_rows(sample.rows, tokens, folder.rows)
    tokens = load_tokens(folder.tokens)
    seconds = time.perf_counter() - start
    more = usable / len(sample)
    basis = f"measured on {len(sample):,} rows" if more > 1 else "measured on the whole pool"
    if builtin and settings.tokens.tokenizer is None:
        basis += f", and {fitted:.1f} s to fit the tokenizer"
    return tokens, Stage("tokenize", fitted + seconds * more, basis)


def _budgets(
    pool: Pool, usable: Int[np.ndarray, " N"], tokens: Tokens, scale: float, settings: RunSettings
) -> tuple[Budgeted, ...]:
    """The rows and the share of the tokens of each budget; SettingsError for one that the pool cannot meet."""
    ids = tokens.ids if scale == 1 else np.sort(pool.rows.ids[usable])
    lengths_N = np.resize(tokens.lengths, len(ids))
    known_N = lengths_N if scale == 1 else np.full(len(ids), settings.tokens.max_length)  # else all that could be
    asked = check(settings.select, len(pool), ids, known_N, read_keep(settings.select.keep))
    return tuple(_budgeted(budget, len(pool), lengths_N) for budget in asked)


def _budgeted(budget: Budget, read: int, lengths_N: Int[np.ndarray, " N"]) -> Budgeted:
    scorable = len(lengths_N)
    if budget.kind == "tokens":
        share = min(1.0, float(budget.amount) / float(lengths_N.sum()))
        return Budgeted(str(budget), max(1, int(share * scorable)), share)
    rows = resolve(budget, read=read, scorable=scorable)
    return Budgeted(str(budget), rows, rows / scorable)


def _proxy(settings: RunSettings, parameters: int, run_plan: Plan, probed: Plan) -> Proxy:
    return Proxy(
        model=settings.proxy.model,
        parameters=parameters,
        steps=run_plan.steps,
        batch_size=run_plan.batch_size,
        epochs=run_plan.epochs,
        checkpoints=len(run_plan.saves) + settings.proxy.initial_checkpoint,
        device=probed.device,
        precision=probed.precision,
        threads=probed.threads,
    )


def _training(pace: probe.Pace, tokens: float, checkpoints: int) -> Stage:
    seconds = pace.once + pace.token * tokens + pace.each * checkpoints
    basis = (
        f"{tokens:,.0f} tokens at {_rate(pace.token)}, {_many(checkpoints, 'checkpoint')} at {pace.each:.2f} s, "
        f"{pace.once:.1f} s to start"
    )
    return Stage("train the proxy", seconds, basis)


def _recording(pace: probe.Pace, tokens: float, checkpoints: int) -> Stage:
    once = pace.once + pace.first
    seconds = once + checkpoints * (pace.each + pace.token * tokens)
    basis = (
        f"{tokens:,.0f} tokens × {_many(checkpoints, 'checkpoint')} at {_rate(pace.token)}, {pace.each:.2f} s to load "
        f"each, {once:.1f} s to start"
    )
    return Stage("record trajectories", seconds, basis)


def _rate(seconds_per_token: float) -> str:
    return f"{1 / max(seconds_per_token, 1e-12):,.0f} tokens/s"


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}{'s' if count != 1 else ''}"
