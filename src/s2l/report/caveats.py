"""What a reader of a run should know of how its losses came to be, where that is not as usual."""

from __future__ import annotations

MANY = 0.05
"""Share of the rows above which the reader is warned."""
SEEN_LOSSES = (
    "the losses were seen in forward passes of the training, one for each epoch: that of each row at a step of its "
    "own, with dropout if the training has any; they are not those of all rows by one model"
)


def added_later(added: int, read: int) -> tuple[str, bool]:
    """One sentence, and whether it is a warning."""
    said = f"{added:,} rows ({added / read:.1%} of all) were added later: the proxy was not trained on them"
    loud = added > MANY * read
    return said + ("; their losses may stand apart from the others', so make the run anew" if loud else ""), loud
