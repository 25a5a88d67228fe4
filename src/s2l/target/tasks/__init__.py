"""Tasks for lm-evaluation-harness that live in the package: what their YAML files here call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from s2l.config import PoolSettings
from s2l.data.pool import read_pool
from s2l.errors import DataError
from s2l.ids import id_order
from s2l.target.answers.symbolic import Prover
from s2l.target.answers.verdict import gold_of, judge
from s2l.target.evaluated import check_row

FOLDER = Path(__file__).parent
SPLIT = "test"

_prover = Prover()


def questions(task: str, path: str, config: str | None = None, limit: int | None = None, **_: Any) -> dict[str, Any]:
    """The questions of a file, a saved folder or a hub id, in the order of their ids; the first `limit` of them.

    An id is a hash of the row, so these are a sample that is the same for every model and every order of the file.
    `config`: of a hub dataset. Raises DataError naming a row without a question or an answer.
    """
    import datasets

    pool = read_pool(PoolSettings(paths=(path,), config=config, split=SPLIT))
    if pool.format not in {"pair", "instruction"}:
        raise DataError(f"{path}: a test set has a question and an answer in each row, this is {pool.format}")
    rows = []
    for row in id_order(pool.rows.ids).tolist():
        turns = pool.example(row).turns
        question, gold = "\n".join(turn.text for turn in turns[:-1]), gold_of(turns[-1].text)
        if not question.strip() or not gold:
            raise DataError(f"{pool.rows.place(row)}: no {'answer' if question.strip() else 'question'}; mend the row")
        check_row(pool.rows.place(row), question, gold)
        id_ = pool.rows.ids[row].decode()
        rows.append({"id": id_, "question": question, "answer": gold, "task": task, "of": len(pool)})
    return {SPLIT: datasets.Dataset.from_list(rows[:limit])}


def judged(doc: Mapping[str, Any], results: Sequence[str], prover: Prover = _prover) -> dict[str, Any]:
    """The verdict on one output, as the harness wants it."""
    verdict = judge(doc["task"], results[0], doc["answer"], prover)
    return {"accuracy": float(verdict.right), "verdict": verdict}


def tally(verdicts: Sequence[Any]) -> dict[str, int]:
    """How many outputs were decided by what."""
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict.by] = counts.get(verdict.by, 0) + 1
    return dict(sorted(counts.items()))
