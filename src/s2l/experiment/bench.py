"""An experiment's folder: what its cells share, each made once, and one cell worked on from the draw to its result."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

from s2l import __version__
from s2l.config import BUILTIN, PoolSettings, SelectSettings
from s2l.experiment import costs, questions
from s2l.experiment.cells import ALL, Cell, budgets_of, cells_of
from s2l.experiment.places import PROXIES
from s2l.experiment.proxies import VIEW, as_begun, check_recorded, proxy_run, seen_by, view
from s2l.experiment.recipe import FULL, ExperimentSettings, MethodSettings
from s2l.experiment.stages import Source, Stages
from s2l.files import read_record, remove, write_json
from s2l.progress import Progress
from s2l.run_folder import RunFolder
from s2l.target.evaluate_settings import EvaluateSettings
from s2l.target.settings import TrainSettings

CELL, FAILED = "result.json", "failed.json"
MODEL = "model"


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
                if proxy.model == BUILTIN and proxy.pretrained:
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
        self.progress.note(f"models/{name}")
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

    def is_chosen(self, cell: Cell) -> bool:
        """Whether `choose` has nothing left to make."""
        if cell.label == FULL:
            return RunFolder(self._recorded(cell)).manifest.is_file()
        return cell.budget in self._draws(cell.label, cell.seed)["subsets"]

    def choose(self, cell: Cell) -> tuple[Path, dict[str, Any] | None]:
        """The run that the cell draws from, and what its method drew there; both made if they are not there."""
        method = self.settings.method(cell.label)
        run = self._run(cell)
        return run, None if cell.label == FULL else self.drawn(run, method, cell.seed)

    def work(self, cell: Cell) -> None:
        """Draw, train, evaluate one cell; its result is written last, and then what it needed is removed."""
        folder = self._folder(cell)
        self.progress.note(cell.folder)
        run, drawn = self.choose(cell)
        subset = None if drawn is None else drawn["subsets"][cell.budget]
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
                "method": self.settings.method(cell.label).model_dump(mode="json"),
                "run": run.name,
                "subset": subset,
                "selection": None if drawn is None else drawn["cost"],
                "training": dict(training),
                "evaluation": evaluation,
            },
        )
        remove(folder / FAILED)
        self.clear(cell)

    def fail(self, cell: Cell, why: str) -> None:
        """Keep why there is no result; the next attempt that has one removes it."""
        write_json(self._folder(cell) / FAILED, {"why": why})

    def failures(self) -> dict[str, str]:
        """Why cells that were tried have no result."""
        files = {cell.folder: self._folder(cell) / FAILED for cell in self.cells if not self.is_done(cell)}
        return {name: str(read_record(file)["why"]) for name, file in files.items() if file.is_file()}

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

    def run_of(self, cell: Cell) -> tuple[str, int]:
        """Name and seed of the proxy whose run the cell draws from: seeds share proxies by turns."""
        method = self.settings.method(cell.label)
        return method.proxy or self.settings.first_proxy, cell.seed % self.settings.proxy_seeds

    def _recorded(self, cell: Cell) -> Path:
        """Folder of that run, with all of its checkpoints."""
        name, proxy_seed = self.run_of(cell)
        return self.out / PROXIES / f"{name}-seed-{proxy_seed}"

    def _run(self, cell: Cell) -> Path:
        """That run, as the method sees it; made if it is not there."""
        name, proxy_seed = self.run_of(cell)
        method, run = self.settings.method(cell.label), self._recorded(cell)
        if name in self.settings.recorded:
            if not (run / VIEW).is_file():
                theirs = Path(self.settings.recorded[name][proxy_seed])
                view(theirs, tuple(range(1, 1 + check_recorded(theirs, self.pool))), run)
        elif not RunFolder(run).manifest.is_file():
            proxy_run(
                self.pool,
                self.settings.tokens,
                as_begun(self.settings.proxies[name].plain(), run, self.progress),
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
        there = self._draws(method.label, seed)
        wanted = tuple(budget for budget in budgets_of(self.settings, method.label) if budget not in there["subsets"])
        if wanted:
            together = tuple(dict.fromkeys([*there["subsets"], *wanted]))  # rounds hang on the largest
            asked = SelectSettings(method=method.method, budgets=together, options=method.set, balance=method.balance)
            start = monotonic()
            subsets = self.stages.draw(run, asked, seed, self.progress)["subsets"]
            seconds = max(monotonic() - start, self._recording_seconds(run, method))
            kept = ("name", "rows", "tokens", "rows_by_source", "selection_sha256", "clusters")
            drawn = {one["budget"]: {name: one[name] for name in kept} for one in subsets}
            there = {
                "run": run.name,
                "method": asked.model_dump(mode="json", exclude={"budgets"}),
                "subsets": there["subsets"] | drawn,
                "cost": there["cost"] or self._cost(run, method, max(one["rows"] for one in drawn.values()), seconds),
            }
            write_json(self._draws_file(method.label, seed), there)
        return there

    def _draws(self, label: str, seed: int) -> dict[str, Any]:
        path = self._draws_file(label, seed)
        return read_record(path) if path.is_file() else {"subsets": {}, "cost": None}

    def _draws_file(self, label: str, seed: int) -> Path:
        return self.out / "draws" / label / f"seed-{seed}.json"

    def _recording_seconds(self, run: Path, method: MethodSettings) -> float:
        """What the method's first draw from this run took: it recorded what later ones find there."""
        draws = map(read_record, (self.out / "draws" / method.label).glob("seed-*.json"))
        return max((draw["cost"]["choose_seconds"] for draw in draws if draw["run"] == run.name), default=0.0)

    def _cost(self, run: Path, method: MethodSettings, rows: int, seconds: float) -> dict[str, float]:
        seen = seen_by(RunFolder(run))
        if method.proxy in self.settings.recorded:
            proxy = costs.made_anyway(seen)
        else:
            whole = run.with_name(read_record(run / VIEW)["of"]) if (run / VIEW).is_file() else run
            proxy = costs.proxy_cost(whole)
        return costs.selection_cost(proxy, method.method, method.set, seen, rows, seconds).as_json()
