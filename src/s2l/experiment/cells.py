"""The cells of an experiment: one target trained on one choice of rows with one seed; each has a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from s2l.experiment.recipe import FULL, RANDOM, ExperimentSettings, Matching
from s2l.selection.budget import parse_budget

ALL = "100%"


@dataclass(frozen=True)
class Cell:
    """What is trained. label: of the method. `full` has the budget ALL, and no second matching: both are the same."""

    target: str
    label: str
    budget: str
    matching: Matching
    seed: int

    @property
    def folder(self) -> str:
        """Its folder among the cells': what it is, in words."""
        if self.label == FULL:
            return f"{self.target}/{FULL}/seed-{self.seed}"
        return f"{self.target}/{self.label}/{parse_budget(self.budget).slug}-{self.matching}/seed-{self.seed}"

    @property
    def group(self) -> tuple[str, str, str, Matching]:
        """What its seeds are averaged over."""
        return self.target, self.label, self.budget, self.matching


def cells_of(settings: ExperimentSettings) -> list[Cell]:
    """All cells, each once: seed by seed, so that whoever stops early has whole seeds; what is compared with, first."""
    return list(dict.fromkeys(cell for seed in range(settings.seeds) for cell in _of_seed(settings, seed)))


def _of_seed(settings: ExperimentSettings, seed: int) -> Iterator[Cell]:
    first = {RANDOM: 1, FULL: 0}
    labels = sorted((method.label for method in settings.methods), key=lambda label: first.get(label, 2))
    for target in settings.targets:
        for label in labels:
            for block in settings.blocks:
                if block.methods is not None and label not in block.methods:
                    continue
                if label == FULL:
                    yield Cell(target, label, ALL, "epochs", seed)
                    continue
                for budget in block.budgets:
                    yield Cell(target, label, budget, block.matching, seed)


def budgets_of(settings: ExperimentSettings, label: str) -> tuple[str, ...]:
    """All budgets that the method is drawn at: in one draw, so nested."""
    blocks = (block for block in settings.blocks if block.methods is None or label in block.methods)
    return tuple(dict.fromkeys(budget for block in blocks for budget in block.budgets))


def groups_of(settings: ExperimentSettings) -> list[tuple[str, str, str, Matching]]:
    """The cells without their seeds, in the order of the tables: target, matching, budget, method as in the recipe."""
    place = {method.label: number for number, method in enumerate(settings.methods)}
    budgets = [ALL, *dict.fromkeys(budget for block in settings.blocks for budget in block.budgets)]
    targets = list(settings.targets)
    return sorted(
        dict.fromkeys(cell.group for cell in cells_of(settings)),
        key=lambda group: (targets.index(group[0]), group[3], budgets.index(group[2]), place[group[1]]),
    )
