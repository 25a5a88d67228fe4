"""What rested on fewer checkpoints or rows is set aside in RUN/earlier/…, never removed, before a run grows."""

from __future__ import annotations

from hashlib import sha256

from s2l.proxy.plan import PLAN
from s2l.run_folder import MANIFEST, RUN, RunFolder

EARLIER = "earlier"
OUTDATED = (MANIFEST, "signal.json", "report.html", "comparison.json", "verification.json", "subsets")
"""The manifest first: without it the run is not finished, whatever else is still there."""


def set_aside(folder: RunFolder) -> None:
    """Move what is outdated by what comes next; a kill in between goes on to the same place."""
    state = b"".join(path.read_bytes() for path in (folder.path / RUN, folder.proxy / PLAN) if path.is_file())
    place = folder.path / EARLIER / sha256(state).hexdigest()[:8]
    for name in OUTDATED:
        path = folder.path / name
        if path.exists():
            place.mkdir(parents=True, exist_ok=True)
            path.rename(place / name)


def was_finished(folder: RunFolder) -> bool:
    """Whether the run is finished, or was until it began to grow."""
    return folder.manifest.is_file() or any(folder.path.glob(f"{EARLIER}/*/{MANIFEST}"))
