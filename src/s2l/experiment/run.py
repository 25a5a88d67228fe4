"""The experiment, top to bottom: split → pre-train → for every cell draw, train, evaluate → tables and a verdict.

OUT/recipe.json says what the folder is for; OUT/cells/…/result.json is there if and only if the cell is done.
"""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

from s2l import __version__
from s2l.config import BUILTIN, PoolSettings, SelectSettings
from s2l.data.hub import HUB_ID
from s2l.data.url import is_url
from s2l.errors import NumericsError, SettingsError, printable
from s2l.experiment import costs, questions
from s2l.experiment.cells import ALL, Cell, budgets_of, cells_of
from s2l.experiment.claim import check_claim, claimed
from s2l.experiment.places import PROXIES, RESULT
from s2l.experiment.proxies import VIEW, check_recorded, proxy_run, seen_by, view
from s2l.experiment.recipe import FULL, ExperimentSettings, MethodSettings
from s2l.experiment.report import MARKDOWN, write_report
from s2l.experiment.stages import Source, Stages
from s2l.files import read_record, remove, write_json
from s2l.progress import SILENT, Progress
from s2l.run_folder import RunFolder
from s2l.target.evaluate import need_packages
from s2l.target.evaluate_settings import EvaluateSettings
from s2l.target.model import need_package
from s2l.target.settings import TrainSettings

CELL = "result.json"
MODEL = "model"

__all__ = ["CELL", "MARKDOWN", "RESULT", "experiment", "reported"]


def experiment(
    settings: ExperimentSettings, out: Path, stages: Stages | None = None, progress: Progress = SILENT
) -> dict[str, Any]:
    """Every cell that is not done yet, then the report; returns what is in OUT/experiment.json.

    Stopped at any moment, the same call goes on: a cell, a draw, a proxy and a pre-trained model are each made once. A
    cell whose loss is not finite is left out; a NumericsError names it when all others are done and reported.
    """
    if stages is None:
        from s2l.experiment.own_stages import OWN

        require(settings)
        stages = OWN
    out = out.resolve()
    with claimed(settings, out):
        bench = Bench(settings, out, stages, progress)
        bench.prepare()
        bench.judge_starts()
        for cell in bench.cells:
            bench.clear(cell)
        waiting = [cell for cell in bench.cells if not bench.is_done(cell)]
        failed: dict[str, str] = {}
        with progress.stage("experiment", len(waiting), "cells") as advance:
            for cell in waiting:
                try:
                    bench.work(cell)
                except NumericsError as error:
                    failed[cell.folder] = str(error)
                    progress.note(f"{cell.folder} failed, and is left out: {error}")
                advance(1)
        found = write_report(settings, out, bench.results(), bench.starts(), bench.split)
    if failed:
        first, why = next(iter(failed.items()))
        raise NumericsError(f"{len(failed)} cells failed, {MARKDOWN} is without them; {first}: {why}")
    return found


def reported(settings: ExperimentSettings, out: Path) -> dict[str, Any]:
    """The report of the cells that are done, as far as they go; also while they are being made.

    RunFolderError where there is no experiment, or one by another recipe.
    """
    out = out.resolve()
    check_claim(settings, out)
    bench = Bench(settings, out, None, SILENT)
    return write_report(settings, out, bench.results(), bench.starts(), bench.split)


def require(settings: ExperimentSettings) -> None:
    """Raise SettingsError, before hours of work, for packages, test sets or held-out rows that are not there."""
    need_package("trl")
    need_packages(settings.evaluate)
    settings.evaluate.data_of_tasks()
    for name in (*settings.heldout, *filter(None, [settings.evaluate.summaries, settings.evaluate.bertscore])):
        if not is_url(name) and not Path(name).exists() and HUB_ID.fullmatch(name) is None:
            raise SettingsError(f"{printable(name)}: no such file or folder")


class Bench:
    """An experiment's folder, and what its cells share; every file in it is made once."""

    def __init__(self, settings: ExperimentSettings, out: Path, stages: Stages | None, progress: Progress) -> None:
        self.settings = settings
        self.out = out
        self.progress = progress
        self.cells = cells_of(settings)
        self._stages = stages

    @property
    def stages(self) -> Stages:
        """The stages, where there is work to do."""
        assert self._stages is not None, "a report does no work"
        return self._stages

    @property
    def split(self) -> dict[str, Any] | None:
        """Rows of each part, where the pool was split."""
        path = self.out / "parts" / questions.SPLIT
        return read_record(path) if path.is_file() else None

    @property
    def pool(self) -> PoolSettings:
        """The rows to choose from."""
        if self.settings.split is None:
            return self.settings.pool
        return self.settings.pool.model_copy(update={"paths": questions.files_of(self.out / "parts" / "pool")})

    @property
    def heldout(self) -> tuple[str, ...]:
        """Files of the held-out rows, none where none are measured."""
        if self.settings.split is None:
            return self.settings.heldout
        return questions.files_of(self.out / "parts" / "heldout")

    def prepare(self) -> None:
        """What must be there before any cell: the parts, and the pre-trained models."""
        settings = self.settings
        if settings.split is not None:
            questions.split(settings.pool, settings.split, self.out / "parts", self.progress)
        elif settings.heldout:
            questions.refuse_overlap(settings.pool, settings.heldout, self.progress)
        if settings.pretrain is not None:
            for name, proxy in settings.proxies.items():
                if proxy.model == BUILTIN:
                    self._pretrain(f"proxy-{name}", proxy.layers, proxy.width, proxy.vocabulary)
            for name, target in settings.targets.items():
                if target.model == BUILTIN:
                    self._pretrain(f"target-{name}", target.layers, target.width, target.vocabulary)

    def judge_starts(self) -> None:
        """Measure every target as it is before any row was chosen; one from scratch is nothing yet."""
        for name, target in self.settings.targets.items():
            pretrained, folder = self.pretrained(f"target-{name}"), self._start(name)
            asked = self._evaluation(Cell(name, FULL, ALL, "epochs", 0))
            from_scratch = pretrained is None and target.model == BUILTIN
            if from_scratch or not asked.measures or (folder / CELL).is_file():
                continue
            if pretrained is None:
                asked = asked.as_trained(target, self.settings.tokens.template)
            write_json(folder / CELL, self._judged(pretrained or Path(str(target.model)), asked, folder / "evaluation"))

    def starts(self) -> dict[str, dict[str, Any]]:
        """What `judge_starts` found."""
        found = {name: self._start(name) / CELL for name in self.settings.targets}
        return {name: read_record(path) for name, path in found.items() if path.is_file()}

    def _start(self, target: str) -> Path:
        return self.out / "starts" / target

    def clear(self, cell: Cell) -> None:
        """Remove the model of a cell that is done; a stop may have left it."""
        if self.is_done(cell) and not self.settings.keep_models:
            remove(self._folder(cell) / "training" / MODEL)

    def _pretrain(self, name: str, layers: int, width: int, vocabulary: int) -> None:
        assert self.settings.pretrain is not None
        shape = {"model": BUILTIN, "layers": layers, "width": width, "vocabulary": vocabulary}
        asked = self.settings.pretrain.model_copy(update=shape)
        files = questions.files_of(self.out / "parts" / "pretrain")
        self.stages.train(
            Source(files=files, reading=self.settings.pool), asked, self.out / "models" / name, self.progress
        )

    def pretrained(self, name: str) -> Path | None:
        """The model that was trained on the first share of the rows; None where none was."""
        folder = self.out / "models" / name / MODEL
        return folder if folder.is_dir() else None

    def is_done(self, cell: Cell) -> bool:
        """Whether its result is there."""
        return (self._folder(cell) / CELL).is_file()

    def results(self) -> dict[Cell, dict[str, Any]]:
        """What the cells that are done found."""
        return {cell: read_record(self._folder(cell) / CELL) for cell in self.cells if self.is_done(cell)}

    def work(self, cell: Cell) -> None:
        """Draw, train, evaluate one cell; its result is written last, and then what it needed is removed."""
        folder, method = self._folder(cell), self.settings.method(cell.label)
        self.progress.note(cell.folder)
        run = self.run_for(method, cell.seed)
        subset, selection = None, None
        if cell.label != FULL:
            drawn = self.drawn(run, method, cell.seed)
            subset = drawn["subsets"][cell.budget]
            selection = drawn["cost"]
        source = Source(run=run, subset=None if subset is None else subset["name"])
        trained = folder / "training"
        training = self.stages.train(source, self._training(cell), trained, self.progress)
        asked = self._evaluation(cell)
        evaluation = self._judged(trained / MODEL, asked, folder / "evaluation") if asked.measures else {}
        write_json(
            folder / CELL,
            {
                "s2l": __version__,
                "cell": vars(cell),
                "method": method.model_dump(mode="json"),
                "run": run.name,
                "subset": subset,
                "selection": selection,
                "training": dict(training),
                "evaluation": evaluation,
            },
        )
        self.clear(cell)

    def _judged(self, model: Path, asked: EvaluateSettings, folder: Path) -> dict[str, Any]:
        return dict(self.stages.evaluate(model, asked, folder, self.progress, self.settings.pool))

    def _folder(self, cell: Cell) -> Path:
        return self.out / "cells" / cell.folder

    def _training(self, cell: Cell) -> TrainSettings:
        asked = self.settings.targets[cell.target]
        start = self.pretrained(f"target-{cell.target}")
        model = asked.model if start is None else str(start)
        own = {} if start is None else {name: asked.settled(name) for name in ("learning_rate", "batch_size")}
        return asked.model_copy(update={**own, "model": model, "match": cell.matching, "seed": cell.seed})

    def _evaluation(self, cell: Cell) -> EvaluateSettings:
        asked, answered = self.settings.evaluate, self.settings.answer_at
        speaks = answered is None or cell.label == FULL or cell.budget in answered
        silent = {} if speaks else {"tasks": (), "summaries": None, "bertscore": None}
        return asked.model_copy(update={"heldout": self.heldout, **silent})

    def run_for(self, method: MethodSettings, seed: int) -> Path:
        """The run that the method draws from at this seed, made if it is not there: seeds share proxies by turns."""
        name = method.proxy or self.settings.first_proxy
        proxy_seed = seed % self.settings.proxy_seeds
        run = self.out / PROXIES / f"{name}-seed-{proxy_seed}"
        if name in self.settings.recorded:
            if not (run / VIEW).is_file():
                theirs = Path(self.settings.recorded[name][proxy_seed])
                view(theirs, tuple(range(1, 1 + check_recorded(theirs, self.pool))), run)
        elif not RunFolder(run).manifest.is_file():
            proxy_run(
                self.pool,
                self.settings.tokens,
                self.settings.proxies[name],
                self.pretrained(f"proxy-{name}"),
                proxy_seed,
                self.settings.primary.budget,
                run,
                self.progress,
            )
        if method.checkpoints is None:
            return run
        seen = run.with_name(f"{run.name}-at-{'-'.join(map(str, method.checkpoints))}")
        view(run, method.checkpoints, seen)
        return seen

    def drawn(self, run: Path, method: MethodSettings, seed: int) -> dict[str, Any]:
        """The method's subsets at all its budgets, from one draw, and what choosing them cost; made once a seed."""
        path = self.out / "draws" / method.label / f"seed-{seed}.json"
        there: dict[str, Any] = read_record(path) if path.is_file() else {"subsets": {}, "cost": None}
        wanted = tuple(budget for budget in budgets_of(self.settings, method.label) if budget not in there["subsets"])
        if wanted:
            asked = SelectSettings(method=method.method, budgets=wanted, options=method.set, balance=method.balance)
            start = monotonic()
            subsets = self.stages.draw(run, asked, seed, self.progress)["subsets"]
            seconds = max(monotonic() - start, self._recording_seconds(run, method))
            kept = ("name", "rows", "tokens", "selection_sha256", "clusters")
            drawn = {one["budget"]: {name: one[name] for name in kept} for one in subsets}
            there = {
                "run": run.name,
                "method": asked.model_dump(mode="json", exclude={"budgets"}),
                "subsets": there["subsets"] | drawn,
                "cost": there["cost"] or self._cost(run, method, seconds),
            }
            write_json(path, there)
        return there

    def _recording_seconds(self, run: Path, method: MethodSettings) -> float:
        """What the method's first draw from this run took: it recorded what later ones find there."""
        draws = map(read_record, (self.out / "draws" / method.label).glob("seed-*.json"))
        return max((draw["cost"]["choose_seconds"] for draw in draws if draw["run"] == run.name), default=0.0)

    def _cost(self, run: Path, method: MethodSettings, seconds: float) -> dict[str, float]:
        seen = seen_by(RunFolder(run))
        if method.proxy in self.settings.recorded:
            return costs.selection_cost(costs.made_anyway(seen), method.method, method.set, seen, seconds).as_json()
        whole = run.with_name(read_record(run / VIEW)["of"]) if (run / VIEW).is_file() else run
        return costs.selection_cost(costs.proxy_cost(whole), method.method, method.set, seen, seconds).as_json()
