"""What an evaluation says of a model, as named numbers; which way is better, and in what unit they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any

FEW = 30
"""Held-out rows below which a source's loss says more of these rows than of the source."""
HELDOUT = {
    "macro": "mean over sources",
    "macro_large": f"mean over sources with {FEW} held-out rows or more",
    "loss_per_token": "all tokens alike",
    "by_source": "of one source",
}
SUMMARIES = {"rouge_l": "ROUGE-L", "bleu": "BLEU", "bertscore": "BERTScore"}


@dataclass(frozen=True)
class Outcome:
    """A number to compare. better: +1 where more is better, −1 where less is. times: from the number to its unit."""

    name: str
    words: str
    unit: str
    better: int
    times: float = 1.0
    digits: int = 2

    def told(self, value: float, *, signed: bool = False) -> str:
        """The value without its unit; no minus before a zero."""
        rounded = round(value * self.times, self.digits) + 0.0
        return f"{rounded:{'+' if signed else ''}.{self.digits}f}"

    def with_interval(self, value: Mapping[str, Any] | None, *, signed: bool = False) -> str:
        """A mean with its interval; a dash where there is none."""
        if value is None:
            return "–"
        mean = self.told(value["mean"], signed=signed)
        if value["low"] is None:
            return f"{mean} (one seed: no interval)"
        return f"{mean} ({self.told(value['low'], signed=signed)} to {self.told(value['high'], signed=signed)})"


def outcome(name: str) -> Outcome:
    """`heldout.macro`, `heldout.loss_per_token`, `tasks.gsm8k`, `tasks.mean`, `summaries.rouge_l`, …"""
    kind, _, of = name.partition(".")
    if kind == "heldout":
        how = HELDOUT.get(of, of)
        return Outcome(name, f"held-out loss, {how}", "nats", better=-1, digits=4)
    if kind == "tasks":
        words = "accuracy, mean of the test sets" if of == "mean" else f"accuracy, {of}"
        return Outcome(name, words, "points", better=1, times=100)
    return Outcome(name, SUMMARIES.get(of, of), "", better=1, digits=4)


def outcomes_of(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """All that is compared of one evaluation, by name; `tasks.mean` weighs every test set alike.

    `heldout.macro_large` is the mean over sources of FEW held-out rows or more, where some have fewer.
    """
    heldout, tasks = evaluation.get("heldout") or {}, evaluation.get("tasks") or {}
    found = {f"heldout.{name}": heldout[name] for name in ("macro", "loss_per_token") if name in heldout}
    sources = (heldout.get("by_source") or {}).values()
    large = [source["loss"] for source in sources if source["rows"] >= FEW]
    if 0 < len(large) < len(sources):
        found["heldout.macro_large"] = fsum(large) / len(large)
    if tasks:
        found["tasks.mean"] = fsum(of["accuracy"] for of in tasks.values()) / len(tasks)
        found |= {f"tasks.{task}": of["accuracy"] for task, of in tasks.items()}
    summaries = evaluation.get("summaries") or {}
    return found | {f"summaries.{name}": summaries[name] for name in SUMMARIES if summaries.get(name) is not None}
