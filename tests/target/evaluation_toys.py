"""Small test sets in the forms of the six real ones."""

import json
from pathlib import Path

SETS = {
    "gsm8k": ["18", "3", "70000", "540", "-10", "64"],
    "math": [
        "\\frac{1}{2}",
        "(-6, 10)",
        "575\\text{ students}",
        "x=5",
        "\\$115,000",
        "2516_8",
        "90\\text{ square\nunits}",
        "\\text{(E)}",
    ],
    "numglue": ["B", "A", "61.54", "August", "5.66", "150"],
    "svamp": ["51", "1", "25740", "8"],
    "mathematics": ["281.8", "8.0", "-0.0", "[2, 3]", "5 3 -2", "-312*u"],
    "simuleq": ["15", "2.2857", "-4.5", "0.3"],
}


def rows_of(task: str) -> list[dict[str, str]]:
    """Its questions, numbered."""
    return [
        {"question": f"Question {place} of {task}?", "answer": gold, "source": task}
        for place, gold in enumerate(SETS[task])
    ]


def write_sets(folder: Path) -> Path:
    """One file for each set, named as it."""
    folder.mkdir(exist_ok=True)
    for task in SETS:
        lines = (json.dumps(row) + "\n" for row in rows_of(task))
        (folder / f"{task}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder
