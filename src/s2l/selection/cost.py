"""What a method's scores cost: passes of the proxy over the pool, in units of one forward pass."""

from __future__ import annotations

from dataclasses import dataclass

from s2l.selection.scores import At, column, columns

BACKWARD = 2.0
"""A backward pass takes about as much work as two forward passes."""


@dataclass(frozen=True)
class Cost:
    """trained: share of the proxy's training that must come before. recorded: checkpoints whose losses are read.

    more: further forward passes over the pool, or their equivalents. in_rounds: the training is of the method's own, on
    rows chosen so far, and `trained` what it were if the budget were all rows.
    """

    trained: float = 0.0
    recorded: int = 0
    more: float = 0.0
    in_rounds: bool = False

    def passes(self, epochs: float) -> float:
        """Forward-pass equivalents, for a proxy that trains so many epochs."""
        return (1 + BACKWARD) * epochs * self.trained + self.recorded + self.more


def of_trajectories(steps: tuple[int, ...]) -> Cost:
    """All of training, and the losses of every checkpoint."""
    return Cost(trained=1, recorded=len(steps))


def of_one_checkpoint(at: At, steps: tuple[int, ...], *, recorded: bool = False, more: float = 0.0) -> Cost:
    """Training up to the one checkpoint that `at` means, its losses if `recorded`, and `more` passes."""
    return Cost(steps[column(at, steps)] / steps[-1], int(recorded), more)


def of_one_model(at: At, steps: tuple[int, ...], *, recorded: bool = True, more: float = 0.0) -> Cost:
    """Training up to the checkpoints that `at` means, and those alone; `more` for each of them."""
    read = columns(at, steps)
    return Cost(steps[read[-1]] / steps[-1], len(read) * recorded, len(read) * more)
