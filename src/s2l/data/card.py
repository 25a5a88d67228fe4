"""The dataset card: what the subset is, what it was drawn from, and how to draw it again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from s2l.data.subset import SAVED_DATASET, Subset
from s2l.errors import printable, shown
from s2l.types import Recorded, Rows, Selection

MOST_LISTED = 50
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGEST = "n>1M"


@dataclass(frozen=True)
class Origin:
    """How the subset came to be, in words for a person.

    budget: as asked. command: repeats the run; one line of shell. signal: whether the proxy carried any. caveats: what
    is not as usual about the losses.
    """

    budget: str
    proxy: str
    seed: int
    command: str
    signal: str
    caveats: tuple[str, ...] = ()


def card(
    origin: Origin, rows: Rows, selection: Selection, recorded: Recorded, subset: Subset, starts: Mapping[str, str]
) -> str:
    """The card as Markdown; all text that is the user's stands in code spans, cut and escaped."""
    kept, read = selection.budget, len(rows)
    facts = {
        "pool": ", ".join(map(code, rows.files[:MOST_LISTED])),
        "rows": f"{kept:,} of {read:,} read ({kept / read:.1%}); {len(recorded):,} could be chosen",
        "budget": code(origin.budget),
        "method": code(selection.method),
        "proxy": code(origin.proxy),
        "signal": code(origin.signal, width=400),
        **({"note": code("; ".join(origin.caveats), width=400)} if origin.caveats else {}),
        "seed": str(origin.seed),
        "selection_sha256": code(selection.sha256, width=64),
        **{
            code(name): code(value)
            for name, value in selection.facts.items()
            if isinstance(value, str | int | float) and name not in {"budget", "seed"}
        },
    }
    parts = [
        front_matter(subset, kept),
        f"# {kept:,} rows chosen by s2l\n",
        "A part of a larger fine-tuning pool. `selection.parquet` has every row of the pool, chosen or not, with the\n"
        "reason; the method `s2l` goes by how a row's loss falls while a small proxy model is trained\n"
        "([S2L](https://arxiv.org/abs/2403.07384)). The licence of the pool applies.\n",
        table(("what", "value"), facts.items()),
        "## Rows that could not be chosen\n",
        table(("why", "rows"), _exclusions(selection, recorded)),
        "## Sources before and after\n",
        table(("source", "read", "share", "chosen", "share"), _sources(rows, selection)),
        "## To repeat it\n",
        f"    {printable(origin.command)}\n",
        "## To train on it\n",
        "In this folder, with your model's name filled in:\n",
        *(f"- {framework}: `{start}`" for framework, start in starts.items()),
    ]
    return "\n".join(parts) + "\n"


def front_matter(subset: Subset, rows: int) -> str:
    """The card's YAML head, which lets `datasets.load_dataset` find the rows."""
    files = [f"{name}/*.arrow" if name == SAVED_DATASET else name for name in subset.files]
    head = {
        "tags": ["s2l", "data-selection"],
        "size_categories": [next((name for most, name in SIZES if rows < most), LARGEST)],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n"


def code(value: Any, width: int = 60) -> str:
    """A value as a Markdown code span that nothing in it can end, on one line, also inside a table."""
    text = shown(str(value))[1:-1] if width == 60 else printable(str(value)[:width])
    if not text.strip():
        return "(empty)"
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")


def table(header: tuple[str, ...], lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table of the first fifty lines; (none) where there are none."""
    body = [f"| {' | '.join(line)} |" for line in lines]
    if not body:
        return "(none)\n"
    if len(body) > MOST_LISTED:
        body = [*body[:MOST_LISTED], f"| and {len(body) - MOST_LISTED} more |" + " |" * (len(header) - 1)]
    return "\n".join([f"| {' | '.join(header)} |", "|" + " --- |" * len(header), *body]) + "\n"


def _exclusions(selection: Selection, recorded: Recorded) -> list[tuple[str, str]]:
    left_out = ~np.isin(selection.ids, recorded.trajectories.ids)
    reasons = (selection.reasons[reason] for reason in selection.reason_N[left_out].tolist())
    counts = Counter(kind(reason) for reason in reasons)
    return [(code(why), f"{count:,}") for why, count in counts.most_common()]


def kind(reason: str) -> str:
    """The reason without what is particular to one row: `malformed: …` is malformed."""
    return re.split(": | of ", reason.removeprefix("excluded: "), maxsplit=1)[0]


def _sources(rows: Rows, selection: Selection) -> list[tuple[str, ...]]:
    read = np.bincount(rows.source_N, minlength=len(rows.sources))
    chosen = np.bincount(rows.source_N[selection.kept_N], minlength=len(rows.sources)).tolist()
    return [
        (code(rows.sources[s]), f"{read[s]:,}", f"{read[s] / len(rows):.1%}", *_share(chosen[s], selection.budget))
        for s in np.argsort(-read, kind="stable")
    ]


def _share(count: int, total: int) -> tuple[str, str]:
    return f"{count:,}", f"{count / total:.1%}"
