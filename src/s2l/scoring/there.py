"""The representations of a run that are there already: what would have to be trained or recorded first is refused."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from s2l.errors import SettingsError
from s2l.progress import Advance
from s2l.scoring.represent import RunRepresentations
from s2l.types import Checkpoint


class Unwilling:
    """Progress of who may begin nothing: what is said before a stage begins is the SettingsError that ends it."""

    def stage(self, name: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:  # noqa: ARG002
        """Refuse."""
        raise SettingsError(f"{name}: not done yet")

    def note(self, line: str) -> None:
        """Refuse."""
        raise SettingsError(line)


@dataclass(frozen=True)
class OnlyThere(RunRepresentations):
    """As they are, but a SettingsError, which says the work, where one is not there; its progress is `Unwilling`."""

    def after(self, rows: Int[np.ndarray, " m"]) -> Checkpoint:
        """The proxy trained on these rows alone, if it was."""
        if not self.folder_after(rows).is_dir():
            raise SettingsError("the proxy was not trained in rounds yet, each on the rows that are chosen before it")
        return super().after(rows)


def only_there(more: RunRepresentations) -> OnlyThere:
    """The same run's, where they are there."""
    return OnlyThere(more.run, more.steps, Unwilling())
