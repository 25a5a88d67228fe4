"""The run, top to bottom: read → tokenize → train the proxy → record its losses → cluster and draw → export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from s2l import manifest
from s2l.config import BUILTIN, PoolSettings, RunSettings, SelectSettings
from s2l.data.pool import digest_of_files, pool_from_dataset, read_pool
from s2l.data.rows_file import load_rows, place_of, save_rows
from s2l.data.tokens import fitting_texts, load_tokens, save_tokens, tokenize
from s2l.data.url import is_url
from s2l.errors import DataError, RunFolderError, SettingsError, printable, quoting_rows
from s2l.files import read_record, write_json
from s2l.flags import command, validated
from s2l.ids import id_order
from s2l.progress import SILENT, Progress
from s2l.proxy.load import load_tokenizer
from s2l.proxy.ranks import ALONE, Ranks, joined
from s2l.proxy.stage import PLAN, device_for, enough_memory, follow, proxy_tokenizer, train_proxy
from s2l.report.page.write import REPORT, write_report
from s2l.run_folder import RunFolder, hold
from s2l.scoring.record import record
from s2l.scoring.represent import RunRepresentations
from s2l.scoring.there import only_there
from s2l.selection.budget import parse_budget
from s2l.selection.compare import COMPARISON, Known, comparison
from s2l.selection.entrants import entrants
from s2l.selection.keep import read_keep
from s2l.selection.select import check, select, settled
from s2l.selection.signal import Signal, signal
from s2l.subsets import SubsetFolder, export_subset
from s2l.trajectories import store
from s2l.types import Pool, Recorded, Rows, Selection, Tokens, Trajectories

if TYPE_CHECKING:
    import datasets

SIGNAL_CLUSTERS = 100
FILES = frozenset({"jsonl", "json", "csv", "parquet", "arrow"})


def run(
    settings: RunSettings, out: Path, progress: Progress = SILENT, dataset: datasets.Dataset | None = None
) -> dict[str, Any]:
    """The whole job into the folder `out`; returns the manifest. After a stop it goes on, to the identical result.

    dataset: the pool itself where it lives in memory; `settings.pool` then says only how to read its rows.
    Started by a launcher as several processes, the first does the job, and the others help to train and return {}.
    """
    if settings.recorded or settings.added:
        raise SettingsError(f"made by other commands, which repeat it: {command(settings, str(out))}")
    settings = settings.model_copy(update={"select": settled(settings.select)})
    device_for(settings.proxy.device)
    with joined() as ranks:
        if not ranks.leads:
            help_to_train(settings, RunFolder(out), ranks)
            return {}
        with hold(out) as folder, quoting_rows(settings.examples):
            pool = read(settings, folder, progress, dataset)
            if not folder.manifest.is_file():
                tokens = to_tokens(pool, settings, folder, progress)
                del pool  # its text is not needed any more
                rows, lengths_N = load_rows(folder.rows)
                trajectories = to_trajectories(tokens, settings, folder, progress, ranks)
                recorded, strength = to_recorded(trajectories, rows, lengths_N, settings.seed, folder, progress)
                selections = choose(rows, recorded, settings.select, settings.seed, folder, progress)
                subsets = export(selections, rows, recorded, strength, settings, folder, progress, dataset)
                write_json(folder.manifest, manifest.of_run(settings, folder, rows, tokens, strength, subsets))
            if not (folder.path / REPORT).is_file():
                write_report(folder, with_examples=settings.examples, progress=progress)
            finished: dict[str, Any] = read_record(folder.manifest)
            return finished


def draw(
    path: Path,
    settings: SelectSettings,
    seed: int | None = None,
    progress: Progress = SILENT,
    dataset: datasets.Dataset | None = None,
) -> dict[str, Any]:
    """Draw again from a run's recorded trajectories, beside what was drawn before; returns the new subsets' manifests.

    seed: the run's own if not given. Needs the run's pool where it was, to export the rows.
    """
    settings = settled(settings)
    with finished(path) as (folder, made):
        asked = made.model_copy(update={"select": settings, "seed": made.seed if seed is None else seed})
        check_pool(asked.pool, folder.claimed(), dataset)
        rows, recorded, strength = recall(folder, made, progress)
        selections = choose(rows, recorded, settings, asked.seed, folder, progress)
        subsets = export(selections, rows, recorded, strength, asked, folder, progress, dataset)
        return {"run": str(path), "subsets": [subset.manifest for subset in subsets]}


def compare(
    path: Path,
    budget: str | int | float,
    methods: Sequence[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    seeds: int = 3,
    embeddings: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Methods side by side on a run's recorded trajectories; returns the figures, kept as RUN/comparison.json too.

    methods: all whose scores are recorded if not given; options: settings by method. seeds: other seeds that tell how
    steady each is. embeddings: record them for coverage and purity if they are not there.
    """
    size, entered = parse_budget(budget), entrants(methods, options or {})
    with finished(path) as (folder, made):
        rows, recorded, _ = recall(folder, made, progress)
        found = comparison(
            recorded,
            known(folder, made, rows, recorded),
            entered,
            size,
            seeds=seeds,
            embeddings=embeddings,
            progress=progress,
        )
        write_json(folder.path / COMPARISON, found)
        return found


@contextmanager
def finished(path: Path) -> Iterator[tuple[RunFolder, RunSettings]]:
    """Hold a finished run, with the settings that made it; RunFolderError where there is none."""
    with hold(path, must_exist=True) as folder:
        claimed = folder.claimed()
        if not folder.manifest.is_file():
            raise RunFolderError(f"{path}: the run is not finished; run its command again first")
        yield folder, validated(claimed["settings"])


def recall(folder: RunFolder, made: RunSettings, progress: Progress) -> tuple[Rows, Recorded, Signal]:
    """What a finished run recorded."""
    steps = read_record(folder.proxy / PLAN)["saves"]
    first = [0] if made.proxy.initial_checkpoint else []
    trajectories = store.load(folder.trajectories, [*first, *steps])
    rows, lengths_N = load_rows(folder.rows)
    return rows, *to_recorded(trajectories, rows, lengths_N, made.seed, folder, progress)


def known(folder: RunFolder, made: RunSettings, rows: Rows, recorded: Recorded) -> Known:
    """What a comparison looks at beside what methods see."""
    more = recorded.more
    assert isinstance(more, RunRepresentations), "of a run folder"
    place_P, scorable_P = rows.stand_in(recorded.trajectories.ids)
    repeat_N = np.zeros(len(recorded), dtype=bool)
    repeat_N[place_P[scorable_P]] = rows.occurrence_N[scorable_P] > 0
    return Known(
        read=len(rows),
        seed=made.seed,
        truncated_N=more.tokens.truncated_N,
        repeat_N=repeat_N,
        there=only_there(more),
        epochs=read_record(folder.proxy / PLAN)["epochs"],
        seconds=folder.seconds(),
    )


def read(settings: RunSettings, folder: RunFolder, progress: Progress, dataset: datasets.Dataset | None = None) -> Pool:
    """The pool; the folder is claimed for it, or refused if it was made from another."""
    start = monotonic()
    pool = read_from(settings.pool, dataset, progress)
    claimed = settings.model_dump(mode="json", exclude={"proxy": {"processes"}})  # of no consequence
    folder.claim(claimed, pool, read_keep(settings.select.keep))
    folder.spent("read", monotonic() - start)
    for notice in pool.notices:
        progress.note(notice)
    return pool


def to_tokens(pool: Pool, settings: RunSettings, folder: RunFolder, progress: Progress) -> Tokens:
    """The pool in the proxy's tokens; rows without a response token are excluded, with the reason."""
    if not (folder.tokens.is_file() and folder.rows.is_file()):
        with folder.timed("tokenize"):
            builtin = settings.proxy.model == BUILTIN
            texts = fitting_texts(pool, settings.tokens)
            tokenizer = proxy_tokenizer(settings.proxy, settings.tokens, texts, folder.tokenizer)
            tokens = tokenize(pool, tokenizer, settings.tokens, builtin=builtin, progress=progress)
            save_tokens(tokens, folder.tokens)
            save_rows(pool.rows, tokens, folder.rows, quoting=settings.examples)
    tokens = load_tokens(folder.tokens)
    check(settings.select, len(pool), tokens.ids, tokens.lengths, read_keep(settings.select.keep))
    return tokens


def to_trajectories(
    tokens: Tokens, settings: RunSettings, folder: RunFolder, progress: Progress, ranks: Ranks = ALONE
) -> Trajectories:
    """Train the proxy on every row, then record every row's losses at every checkpoint."""
    place = partial(place_of, folder.rows)
    with folder.timed("train the proxy"), enough_memory(settings.proxy.batch_tokens):
        plan, checkpoints = train_proxy(
            tokens,
            load_tokenizer(folder.tokenizer),
            settings.proxy,
            folder.proxy,
            max_length=settings.tokens.max_length,
            seed=settings.seed,
            progress=progress,
            place=place,
            ranks=ranks,
        )
    with folder.timed("record trajectories"), enough_memory(settings.proxy.batch_tokens):
        processes = settings.proxy.processes
        return record(
            tokens, checkpoints, plan, folder.trajectories, progress, place, stored=folder.tokens, processes=processes
        )


def help_to_train(settings: RunSettings, folder: RunFolder, ranks: Ranks) -> None:
    """Take a share of every batch that the first process trains on, as long as it trains."""
    follow(
        ranks,
        lambda: (load_tokens(folder.tokens), load_tokenizer(folder.tokenizer)),
        settings.proxy,
        max_length=settings.tokens.max_length,
        seed=settings.seed,
    )


def to_recorded(
    trajectories: Trajectories,
    rows: Rows,
    lengths_N: Int[np.ndarray, " scorable"],
    seed: int,
    folder: RunFolder,
    progress: Progress,
) -> tuple[Recorded, Signal]:
    """What a method may look at, and whether there is anything in it to see."""
    order = id_order(rows.ids)
    scorable = order[~rows.excluded_N[order]]
    if not np.array_equal(rows.ids[scorable], trajectories.ids):
        raise RunFolderError(f"{folder.path}: not every row is recorded yet; run the same command again")
    more = RunRepresentations(folder, trajectories.steps, progress)
    recorded = Recorded(trajectories, rows.source_N[scorable], rows.sources, lengths_N, more=more)
    if not folder.signal.is_file():
        with folder.timed("signal"):
            write_json(folder.signal, asdict(signal(trajectories, SIGNAL_CLUSTERS, seed, progress)))
    strength = Signal(**{**(stored := read_record(folder.signal)), "weak": tuple(stored["weak"])})
    progress.note(strength.sentence)
    return recorded, strength


def choose(
    rows: Rows, recorded: Recorded, settings: SelectSettings, seed: int, folder: RunFolder, progress: Progress
) -> list[Selection]:
    """The verdict on every row, for each budget (and its random twin)."""
    with folder.timed("cluster and draw"):
        return select(rows, recorded, settings, seed, read_keep(settings.keep), progress)


def export(
    selections: Sequence[Selection],
    rows: Rows,
    recorded: Recorded,
    strength: Signal,
    settings: RunSettings,
    folder: RunFolder,
    progress: Progress,
    dataset: datasets.Dataset | None = None,
) -> list[SubsetFolder]:
    """One folder for each selection: the subset, the reasons, the card, the trainers' configs."""
    with folder.timed("export"):
        return [
            export_subset(selection, rows, recorded, strength, settings, folder, progress, dataset)
            for selection in selections
        ]


def check_pool(settings: PoolSettings, claimed: Mapping[str, Any], dataset: datasets.Dataset | None) -> None:
    """DataError where the pool is no longer there, or no longer what the run read."""
    if claimed["pool"]["container"] in FILES:
        gone = next((path for path in settings.paths if not is_url(path) and not Path(path).is_file()), None)
        if gone is not None:
            where = printable(claimed["directory"])
            raise DataError(f"{printable(gone)}: the pool's file is not here; the run was made in {where}: go there")
        digest = digest_of_files(settings.paths)
    else:
        digest = read_from(settings, dataset, SILENT).digest
    if digest != claimed["pool"]["digest"]:
        raise DataError(f"{printable(settings.paths[0])}: the pool has changed since the run read it; make a new run")


def read_from(settings: PoolSettings, dataset: datasets.Dataset | None, progress: Progress) -> Pool:
    """The pool from where its settings say, or from memory."""
    if dataset is None:
        return read_pool(settings, progress)
    how = settings.model_dump(exclude={"paths", "config", "split", "revision"})
    return pool_from_dataset(dataset, **how, progress=progress)
