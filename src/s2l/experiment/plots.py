"""Pictures of an experiment: the outcome over budgets, differences to random, what selecting and training cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from s2l.errors import printable
from s2l.experiment.outcomes import Outcome, outcome
from s2l.experiment.recipe import FULL
from s2l.experiment.svg import COLOURS, INK, PALE, Figure, Scale, number, spanning

LEFT, TOP, PANEL, HIGH, LABELS, ROW = 70, 56, 430, 300, 220, 26
NAME, MOST_SOURCES = 27, 60


def plots(found: Mapping[str, Any]) -> dict[str, str]:
    """File name → SVG, of the primary outcome and target; those for which there is nothing to draw are left out."""
    primary = found["primary"]
    entries = [entry for entry in found["groups"] if entry["target"] == primary["target"]]
    entries = [entry for entry in entries if _value(entry, primary["outcome"])]
    labels = dict.fromkeys(method["label"] for method in found["settings"]["methods"])
    colour = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(label for label in labels if label != FULL)}
    drawn = {
        "budgets.svg": budgets(entries, primary["outcome"], {**colour, FULL: INK}),
        "differences.svg": differences(entries, primary, {**colour, FULL: INK}),
        "sources.svg": sources(found, colour[primary["method"]]),
        "costs.svg": costs(entries, primary),
    }
    return {name: figure.page() for name, figure in drawn.items() if figure is not None}


def budgets(entries: Sequence[Mapping[str, Any]], name: str, colour: Mapping[str, str]) -> Figure | None:
    """One panel for each matching: mean and interval at each budget; full as a dashed line across."""
    of = outcome(name)
    full = next((entry for entry in entries if entry["method"] == FULL), None)
    chosen = [entry for entry in entries if entry["method"] != FULL]
    matchings = list(dict.fromkeys(entry["matching"] for entry in chosen))
    if len({entry["budget"] for entry in chosen}) < 2:
        return None
    figure = Figure(f"{of.words} ({of.unit})", LEFT + (PANEL + LABELS) * len(matchings), TOP + HIGH + 60)
    ends = [end * of.times for entry in entries for end in _ends(entry, name)]
    y = spanning(ends, TOP + HIGH, TOP)
    figure.text(LEFT, 22, f"{of.words}, {of.unit}", bold=True)
    for number_, matching in enumerate(matchings):
        start = LEFT + number_ * (PANEL + LABELS)
        here = sorted((one for one in chosen if one["matching"] == matching), key=lambda one: one["training"]["rows"])
        _panel(figure, here, full, name, colour, start, y)
        figure.text(start, 42, f"equal {matching}; the bars are 95 % intervals over seeds", colour="#555555")
    return figure


def _panel(
    figure: Figure,
    entries: Sequence[Mapping[str, Any]],
    full: Mapping[str, Any] | None,
    name: str,
    colour: Mapping[str, str],
    start: int,
    y: Scale,
) -> None:
    times = outcome(name).times
    shares = list(dict.fromkeys(entry["budget"] for entry in entries))
    gap = PANEL / (len(shares) + 1)
    at = {budget: start + gap * (i + 1) for i, budget in enumerate(shares)}
    _grid(figure, y, start, start + PANEL)
    for budget, x in at.items():
        figure.text(x, TOP + HIGH + 22, budget, "middle")
    figure.text(start + PANEL / 2, TOP + HIGH + 44, "budget", "middle")
    tags: list[tuple[float, str]] = []
    if full is not None:
        level = y(_value(full, name)["mean"] * times)
        figure.line([(start, level), (start + PANEL, level)], INK, 1.5, dashed=True)
        tags.append((level, FULL))
    labels = [label for label in colour if any(entry["method"] == label for entry in entries)]
    for i, label in enumerate(labels):
        aside = (i - (len(labels) - 1) / 2) * min(9, gap / (len(labels) + 1))
        points = []
        for entry in (entry for entry in entries if entry["method"] == label):
            x, value = at[entry["budget"]] + aside, _value(entry, name)
            points.append((x, y(value["mean"] * times)))
            if value["low"] is not None:
                figure.line([(x, y(value["low"] * times)), (x, y(value["high"] * times))], colour[label], 1.5)
            figure.dot(*points[-1], colour[label])
        figure.line(points, colour[label], 1.5)
        tags.append((points[-1][1], label))
    for height, label in _apart(tags):
        figure.text(start + PANEL + 6, height + 4, label, colour=colour[label])


def _apart(tags: Sequence[tuple[float, str]], distance: float = 15) -> list[tuple[float, str]]:
    """The tags from top to bottom, moved as far apart as words need, and back up where they would leave the panel."""
    placed: list[tuple[float, str]] = []
    for height, label in sorted(tags):
        placed.append((max(height, placed[-1][0] + distance) if placed else height, label))
    over = max(0.0, placed[-1][0] - (TOP + HIGH)) if placed else 0.0
    return [(height - over, label) for height, label in placed]


def differences(
    entries: Sequence[Mapping[str, Any]], primary: Mapping[str, Any], colour: Mapping[str, str]
) -> Figure | None:
    """Each method's gain over random at the primary budget, with its interval; right of the line is better."""
    of = outcome(primary["outcome"])
    rows = [
        (f"{entry['method']}, {entry['matching']}", colour[entry["method"]], difference)
        for entry in entries
        if entry["budget"] == primary["budget"]
        and (difference := entry["outcomes"][primary["outcome"]]["to_random"]) is not None
    ]
    return _gains(f"gain over random at {primary['budget']}: {of.words}, {of.unit}", rows, of)


def sources(found: Mapping[str, Any], colour: str) -> Figure | None:
    """The primary method's gain over random in each source; none where there is one, or too many to be read."""
    primary = found["primary"]
    rows = [(_short(one["source"]), colour, one["to_random"]) for one in found["sources"] if one["to_random"]]
    if not 2 <= len(rows) <= MOST_SOURCES:
        return None
    of = outcome("heldout.by_source")
    return _gains(f"gain of {primary['method']} over random at {primary['budget']}: held-out loss, {of.unit}", rows, of)


def _short(source: str) -> str:
    name = printable(source)
    return name if len(name) <= NAME else f"…{name[1 - NAME :]}"


def _gains(title: str, rows: Sequence[tuple[str, str, Mapping[str, Any]]], of: Outcome) -> Figure | None:
    """A line for each (words, colour, difference to random)."""
    if not rows:
        return None
    figure = Figure(title, LABELS + PANEL + 30, TOP + ROW * len(rows) + 50)
    factor = of.better * of.times
    ends = [0.0, *(factor * (row[key] if row[key] is not None else row["mean"]) for _, _, row in rows for key in KEYS)]
    x = spanning(ends, LABELS, LABELS + PANEL)
    bottom = TOP + ROW * len(rows)
    figure.text(12, 22, title, bold=True)
    figure.text(12, 42, "95 % intervals of differences paired by seed; right of the line is better", colour="#555555")
    ticks = x.ticks()
    for tick in ticks:
        figure.line([(x(tick), TOP), (x(tick), bottom)])
        figure.text(x(tick), bottom + 20, number(tick, ticks[1] - ticks[0]), "middle")
    figure.line([(x(0), TOP), (x(0), bottom)], INK, 1.5)
    for i, (words, colour, row) in enumerate(rows):
        y = TOP + ROW * (i + 0.5)
        figure.text(LABELS - 10, y + 4, words, "end")
        if row["low"] is not None:
            figure.line([(x(factor * row["low"]), y), (x(factor * row["high"]), y)], colour, 2)
        figure.dot(x(factor * row["mean"]), y, colour)
    return figure


KEYS = ("low", "mean", "high")


def costs(entries: Sequence[Mapping[str, Any]], primary: Mapping[str, Any]) -> Figure | None:
    """FLOPs of selecting and of training at the primary budget, beside full training."""
    rows = [entry for entry in entries if entry["method"] == FULL or entry["budget"] == primary["budget"]]
    rows = [entry for entry in rows if entry["training"].get("flops")]
    if not rows:
        return None
    figure = Figure("cost in FLOPs", LABELS + PANEL + 30, TOP + ROW * len(rows) + 50)
    bottom = TOP + ROW * len(rows)
    spent = [((entry["selection"] or {}).get("flops") or 0.0, entry["training"]["flops"]) for entry in rows]
    most = max(sum(parts) for parts in spent)
    power = len(f"{most:.0f}") - 1
    x = Scale(0, most / 10**power * 1.05, LABELS, LABELS + PANEL)
    figure.text(12, 22, f"FLOPs of one model at {primary['budget']}, in 10^{power}", bold=True)
    figure.bar(12, 33, 11, 11, COLOURS[1])
    figure.text(28, 43, "selecting, alone")
    figure.bar(142, 33, 11, 11, COLOURS[0])
    figure.text(158, 43, "training the target")
    ticks = x.ticks()
    for tick in ticks:
        figure.line([(x(tick), TOP), (x(tick), bottom)])
        figure.text(x(tick), bottom + 20, number(tick, ticks[1] - ticks[0]), "middle")
    for i, (entry, (selecting, training)) in enumerate(zip(rows, spent, strict=True)):
        y = TOP + ROW * i + 5
        words = entry["method"] if entry["method"] == FULL else f"{entry['method']}, {entry['matching']}"
        figure.text(LABELS - 10, y + 12, words, "end")
        middle = x(selecting / 10**power)
        figure.bar(x(0), y, middle - x(0), ROW - 10, COLOURS[1])
        figure.bar(middle, y, x((selecting + training) / 10**power) - middle, ROW - 10, COLOURS[0])
    return figure


def _grid(figure: Figure, y: Scale, left: float, right: float) -> None:
    ticks = y.ticks()
    for tick in ticks:
        figure.line([(left, y(tick)), (right, y(tick))], PALE)
        figure.text(left - 8, y(tick) + 4, number(tick, ticks[1] - ticks[0]), "end")


def _value(entry: Mapping[str, Any], name: str) -> Any:
    return (entry["outcomes"].get(name) or {}).get("value")


def _ends(entry: Mapping[str, Any], name: str) -> list[float]:
    value = _value(entry, name)
    return [value[key] for key in KEYS if value[key] is not None]
