"""An evaluation as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from s2l.errors import printable

MOST_SOURCES = 40


def print_evaluation(found: Mapping[str, Any], console: Console, folder: str | None = None) -> None:
    """Print what `evaluate` found, and where the outputs are."""
    model = found["model"]
    title = f"{printable(model['name'])}: {model['parameters']:,} parameters, template {model['template']}"
    parts: list[RenderableType] = [Text(title, style="bold")]
    if found["heldout"]:
        parts += _heldout(found["heldout"])
    if found["tasks"]:
        parts.append(_tasks(found["tasks"]))
    if found["summaries"]:
        parts.append(_summaries(found["summaries"]))
    if folder is not None:
        parts.append(Text(f"{printable(folder)}/evaluation.json; every output: outputs/"))
    console.print(Group(*parts))


def _heldout(heldout: Mapping[str, Any]) -> list[RenderableType]:
    excluded = sum(heldout["excluded"].values())
    table = _table("held-out loss, nats per response token", "source", "rows", "tokens", "loss")
    each = sorted(heldout["by_source"].items(), key=lambda item: -item[1]["rows"])
    for source, of in each[:MOST_SOURCES]:
        table.add_row(printable(source), f"{of['rows']:,}", f"{of['tokens']:,}", f"{of['loss']:.4f}")
    if len(each) > MOST_SOURCES:
        table.add_row(f"and {len(each) - MOST_SOURCES} more", "", "", "")
    line = (
        f"{heldout['loss_per_token']:.4f} over all tokens, {heldout['macro']:.4f} as the mean over sources; "
        f"{heldout['rows']:,} rows, {excluded:,} left out"
    )
    reasons = "; ".join(f"{rows:,} × {printable(reason)}" for reason, rows in heldout["excluded"].items())
    return [table, Text(line + (f" ({reasons})" if reasons else "")), Text()]


def _tasks(tasks: Mapping[str, Any]) -> Table:
    table = _table("answers, zero-shot, greedy", "test set", "right", "error", "questions", "no answer", "cut")
    for name, of in tasks.items():
        without = sum(of["decided_by"].get(by, 0) for by in ("no answer", "program"))
        error = "" if of["stderr"] is None else f"± {of['stderr']:.1%}"
        table.add_row(
            name, f"{of['accuracy']:.1%}", error, f"{of['n']:,} of {of['of']:,}", f"{without:,}", f"{of['cut']:,}"
        )
    return table


def _summaries(of: Mapping[str, Any]) -> Table:
    table = _table("summaries", "rows", "ROUGE-L", "BLEU", "BERTScore", "cut")
    bertscore = "" if of["bertscore"] is None else f"{of['bertscore']:.3f}"
    table.add_row(
        f"{of['n']:,} of {of['of']:,}", f"{of['rouge_l']:.3f}", f"{of['bleu']:.1f}", bertscore, f"{of['cut']:,}"
    )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left", padding=(0, 1))
    for column in columns:
        table.add_column(column, justify="left" if column in {"source", "test set"} else "right", overflow="fold")
    return table
