"""RUN/manifest.json: what came out of a run and from what; written last, and itself a recipe (`settings`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from s2l.config import RunSettings
from s2l.data.card import kind
from s2l.flags import command
from s2l.provenance import peak_memory, provenance
from s2l.run_folder import RunFolder
from s2l.selection.signal import Signal
from s2l.subsets import SubsetFolder
from s2l.types import Rows, Tokens

ELSEWHERE = frozenset({"facts", "settings", "s2l", "pool", "proxy", "machine", "versions"})


def of_run(
    settings: RunSettings,
    folder: RunFolder,
    rows: Rows,
    tokens: Tokens,
    strength: Signal,
    subsets: Sequence[SubsetFolder],
) -> dict[str, Any]:
    """The manifest; `selection_sha256` is that of the first budget, None where nothing was drawn."""
    made_from = provenance(folder)
    return made_from | {
        "selection_sha256": subsets[0].manifest["selection_sha256"] if subsets else None,
        "settings": settings.model_dump(mode="json"),
        "command": command(settings, str(folder.path)),
        "pool": made_from["pool"] | _counts(rows),
        "tokens": {
            "rows": len(tokens),
            "tokens": int(tokens.start_N[-1]),
            "response_tokens": int(tokens.counted.sum()),
            "truncated": int(tokens.truncated_N.sum()),
        },
        "seconds": folder.seconds(),
        "peak_memory_bytes": peak_memory(),
        "signal": {**asdict(strength), "sentence": strength.sentence},
        "subsets": [
            {name: value for name, value in subset.manifest.items() if name not in ELSEWHERE} for subset in subsets
        ],
    }


def _counts(rows: Rows) -> dict[str, Any]:
    kinds = {id_: kind(reason) for id_, reason in rows.excluded.items()}
    first: dict[str, str] = {}
    for row, id_ in enumerate(rows.ids.tolist()):
        if id_ in kinds:
            first.setdefault(kinds[id_], rows.place(row))
    by_source = np.bincount(rows.source_N, minlength=len(rows.sources))
    return {
        "read": len(rows),
        "excluded": [
            {"reason": reason, "rows": n, "first": first[reason]} for reason, n in Counter(kinds.values()).most_common()
        ],
        "added": int((~rows.trained_on_N).sum()),
        "exact_repeats": int((rows.occurrence_N > 0).sum()),
        "rows_by_source": {source: int(n) for source, n in zip(rows.sources, by_source, strict=True)},
    }
