"""An experiment as Markdown: the verdict, the primary table, costs, and everything exploratory behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from s2l.errors import printable
from s2l.experiment.outcomes import Outcome, outcome
from s2l.experiment.recipe import FULL, RANDOM
from s2l.report.screen import duration

NONE = "–"
MEANING = re.compile(r"([\\`*_{}\[\]<>#|&])")


def markdown(found: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The page; `pictures` are paths beside it."""
    parts = (_head(found), _primary(found), _pictures(pictures), _costs(found), _sources(found), _exploratory(found))
    return "\n".join([*chain.from_iterable(parts), ""])


def plain(text: str) -> str:
    """A user's words on one line, without a meaning in Markdown or HTML."""
    return MEANING.sub(r"\\\1", printable(text))


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    settings, cells = found["settings"], found["cells"]
    yield f"# {plain(settings['title'])}"
    yield ""
    if settings["note"]:
        yield plain(settings["note"])
        yield ""
    yield f"{cells['done']} of {cells['all']} cells are done; {settings['seeds']} seeds, s2l {found['s2l']}."
    if found["split"]:
        rows = ", ".join(f"{part} {count:,}" for part, count in found["split"]["rows"].items())
        yield f"{found['split']['read']:,} rows split by question: {rows}."
    yield ""
    yield "## Verdict"
    yield ""
    yield from (f"- {plain(line)}" for line in [*found["verdict"]["lines"], *found["verdict"]["notes"]])
    yield ""


def _primary(found: Mapping[str, Any]) -> Iterator[str]:
    primary = found["primary"]
    of = outcome(primary["outcome"])
    yield "## Primary outcome"
    yield ""
    yield (
        f"Named beforehand: {of.words}, of {primary['method']} against random at {primary['budget']}, equal "
        f"{primary['matching']}, target {primary['target']}. All other lines and outcomes are exploratory: look at "
        "enough of them and one of twenty intervals misses by chance."
    )
    yield ""
    yield from table(found, of)


def table(found: Mapping[str, Any], of: Outcome) -> Iterator[str]:
    """One outcome of all groups: mean, and differences to random, to full and to the primary method, each with its 95 %
    t-interval. The row of the primary outcome is set in bold."""
    primary = found["primary"]
    better = "more" if of.better > 0 else "less"
    unit = f", {of.unit}" if of.unit else ""
    yield (
        f"| target | matching | budget | method | rows | steps | tokens seen | {of.words}{unit} ({better} is better) "
        f"| minus random | minus full | minus {plain(primary['method'])} | seeds |"
    )
    yield "| --- | --- | --- | --- | ---: | ---: | ---: | --- | --- | --- | --- | --- |"
    for target, start in found["starts"].items():
        if of.name in start:
            told = of.told(start[of.name])
            yield f"| {target} | {NONE} | 0% | not fine-tuned | 0 | 0 | 0 | {told}{f' | {NONE}' * 4} |"
    for entry in found["groups"]:
        measured = entry["outcomes"].get(of.name)
        if measured is None and entry["seeds"]:
            continue
        measured = measured or {}
        name = entry["method"]
        here = all(entry[key] == primary[key] for key in ("target", "method", "budget", "matching"))
        if here and of.name == primary["outcome"]:
            name = f"**{name}**"
        training = entry["training"]
        cells = [
            entry["target"],
            NONE if entry["method"] == FULL else entry["matching"],
            entry["budget"],
            name,
            *(_count(training[key]) for key in ("rows", "steps", "tokens_seen")),
            of.with_interval(measured.get("value")),
            *(of.with_interval(measured.get(f"to_{other}"), signed=True) for other in ("random", "full", "primary")),
            _seeds(entry),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _seeds(entry: Mapping[str, Any]) -> str:
    missing = f" ({', '.join(map(str, entry['missing']))} missing)" if entry["missing"] else ""
    return f"{len(entry['seeds'])}{missing}"


def _count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _pictures(paths: Sequence[str]) -> Iterator[str]:
    for path in paths:
        yield f"![{path.rpartition('/')[2].removesuffix('.svg')}]({path})"
        yield ""


def _costs(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Cost"
    yield ""
    yield (
        "Means over seeds. Selecting is charged in full to every method, as if it were the only one: the proxy's "
        "training as far as it needs it, recording, and choosing at all budgets of the recipe. Pre-training is charged "
        "to nobody."
    )
    yield ""
    yield "| target | matching | budget | method | proxy | recording | choosing | selecting: FLOPs | training | FLOPs |"
    yield "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for entry in found["groups"]:
        cost, training = entry["selection"] or {}, entry["training"]
        times = [cost.get(f"{part}_seconds") for part in ("train", "record", "choose")]
        cells = [
            entry["target"],
            NONE if entry["method"] == FULL else entry["matching"],
            entry["budget"],
            entry["method"],
            *map(_seconds, times),
            _flops(cost.get("flops")),
            _seconds(training["seconds"]),
            _flops(training["flops"]),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _seconds(value: float | None) -> str:
    return NONE if value is None else duration(value)


def _flops(value: float | None) -> str:
    return NONE if value is None else f"{value:.2e}"


def _sources(found: Mapping[str, Any]) -> Iterator[str]:
    """Nothing where there are fewer than two sources."""
    if len(found["sources"]) < 2:
        return
    primary, of = found["primary"], outcome("heldout.by_source")
    method = plain(primary["method"])
    yield "## By source"
    yield ""
    yield (
        f"Held-out loss per response token at {primary['budget']}, equal {primary['matching']}, target "
        f"{plain(primary['target'])}; the largest gain first. Exploratory."
    )
    yield ""
    yield (
        f"| source | held-out rows | tokens | {method}: rows chosen | random: rows chosen | {method} | random | full "
        f"| {method} minus random |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    for entry in found["sources"]:
        means = [entry["values"][label] for label in (primary["method"], RANDOM, FULL)]
        cells = [
            plain(entry["source"]),
            *(_count(entry[key]) for key in ("rows", "tokens")),
            *(_count(entry["chosen"][label]) for label in (primary["method"], RANDOM)),
            *(NONE if mean is None else of.told(mean["mean"]) for mean in means),
            of.with_interval(entry["to_random"], signed=True),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _exploratory(found: Mapping[str, Any]) -> Iterator[str]:
    primary = found["primary"]["outcome"]
    names = dict.fromkeys(name for entry in found["groups"] for name in entry["outcomes"] if name != primary)
    if names:
        yield "## Exploratory outcomes"
        yield ""
    for name in names:
        of = outcome(name)
        yield f"### {plain(of.words[0].upper() + of.words[1:])}"
        yield ""
        yield from table(found, of)
