"""Training the target on all rows and on the subset: what selection saves, and from which size of target on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from s2l.errors import SettingsError, shown

PAPERS = (410_000_000, 2_700_000_000, 7_000_000_000)
"""Parameters of the paper's targets: Pythia-410M, Phi-2, Llama-2-7B."""
EPOCHS = 3.0
"""The paper's, of every target."""
UNITS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
WRITTEN = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)([kMBT]?)", re.ASCII)


@dataclass(frozen=True)
class Budgeted:
    """A budget as asked, the rows that it means, and the share of the pool's tokens in them."""

    budget: str
    rows: int
    token_share: float


@dataclass(frozen=True)
class Cost:
    """FLOPs of training one target: on all rows, and on one budget's subset, selecting it included.

    full: EPOCHS over all rows. equal_epochs: as many over the subset. equal_steps: as many steps as `full` has, on the
    subset. selection_share: what selecting alone costs, as a share of `full`.
    """

    parameters: int
    budget: str
    full: float
    equal_epochs: float
    equal_steps: float
    selection_share: float


def parse_parameters(written: str) -> int:
    """Parameters from `7B`, `410M` or a whole number; SettingsError for anything else."""
    match = WRITTEN.fullmatch(written.strip())
    parameters = round(float(match[1]) * UNITS[match[2]]) if match else 0
    if parameters < 1:
        raise SettingsError(f"--target-params {shown(written)}: write 7B, 410M or a whole number")
    return parameters


def flops(parameters: float, tokens: float) -> float:
    """Of EPOCHS of training a dense model: 6 a parameter and token (Kaplan et al. 2020, arXiv 2001.08361)."""
    return 6 * parameters * tokens * EPOCHS


def costs(targets: Sequence[int], budgets: Sequence[Budgeted], tokens: float, selection: float) -> tuple[Cost, ...]:
    """Every target at every budget. tokens: of the pool. selection: FLOPs of training and scoring the proxy."""
    return tuple(
        Cost(
            parameters=parameters,
            budget=asked.budget,
            full=(full := flops(parameters, tokens)),
            equal_epochs=selection + asked.token_share * full,
            equal_steps=selection + full,
            selection_share=selection / full,
        )
        for parameters in targets
        for asked in budgets
    )


def worthwhile(asked: Budgeted, tokens: float, selection: float) -> float | None:
    """Parameters of the target from which on selecting and training on the subset is cheaper than training on all.

    For equal epochs; None where the subset is everything.
    """
    saved = (1 - asked.token_share) * flops(1, tokens)
    return selection / saved if saved > 0 else None
