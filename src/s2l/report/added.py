"""What is said of rows that were added after the proxy was trained."""

from __future__ import annotations

MANY = 0.05
"""Share of the rows above which the reader is warned."""


def added_later(added: int, read: int) -> tuple[str, bool]:
    """One sentence, and whether it is a warning."""
    said = f"{added:,} rows ({added / read:.1%} of all) were added later: the proxy was not trained on them"
    loud = added > MANY * read
    return said + ("; their losses may stand apart from the others', so make the run anew" if loud else ""), loud
