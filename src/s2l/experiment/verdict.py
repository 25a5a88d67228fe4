"""The verdict in words, chosen by the intervals alone."""

from __future__ import annotations

from collections.abc import Mapping

from s2l.experiment.outcomes import Outcome
from s2l.experiment.recipe import RANDOM
from s2l.experiment.statistics import Estimate

WORTH_NAMING = 0.5
"""Size of a correlation from which it is told."""
WORTH_SAYING = 0.02
"""Difference in tokens, as a share of random's."""


def against(other: str, difference: Estimate | None, of: Outcome, *, undecided: str) -> str:
    """How a method stands to another, from the differences (method less other) paired by seed.

    undecided: the word where the interval holds zero: "no better than random".
    """
    if difference is None:
        return f"nothing is known against {other}: no seed has both"
    gap = f"; {_seeds(difference.missing)} missing" if difference.missing else ""
    if difference.low is None or difference.high is None:
        return f"nothing can be said against {other}: one seed has no interval{gap}"
    low, high = sorted(of.better * value for value in (difference.low, difference.high))
    gain = of.better * difference.mean
    counted = f"{len(difference.seeds)} seeds{gap}"
    unit = f" {of.unit}" if of.unit else ""
    if low > 0:
        return f"better than {other} by {_span(gain, low, high, of, unit)}, {counted})"
    if high < 0:
        return f"worse than {other} by {_span(-gain, -high, -low, of, unit)}, {counted})"
    return f"{undecided}, gain {_span(gain, low, high, of, unit, signed=True)}, {counted})"


def _span(value: float, low: float, high: float, of: Outcome, unit: str, *, signed: bool = False) -> str:
    low_high = f"{of.told(low, signed=signed)} to {of.told(high, signed=signed)}"
    return f"{of.told(value, signed=signed)}{unit} (95 % CI {low_high}"


def _seeds(seeds: tuple[int, ...]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def payoff(rows: float | None, chosen: int, pool_rows: int, unit: str) -> str:
    """From how many rows on it is cheaper; said of this pool too."""
    if rows is None:
        why = "selecting costs at least as much a row as training on it"
        return f"never cheaper than full training of this target in {unit}: {why}"
    here = "cheaper here" if pool_rows > rows else "dearer here"
    return (
        f"cheaper than full training of this target from {rows:,.0f} rows on in {unit}, "
        f"with {chosen:,} rows chosen: {here} ({pool_rows:,} rows)"
    )


def other_tokens(name: str, ours: float, theirs: float) -> str | None:
    """What to say where a method's rows are longer or shorter than as many random ones."""
    share = ours / theirs - 1
    if abs(share) < WORTH_SAYING:
        return None
    longer, more = ("longer", "more") if share > 0 else ("shorter", "fewer")
    return (
        f"{name}: its rows are {longer} than random ones, so training reads {abs(share):.0%} {more} tokens for "
        "as many rows; a part of the difference to random may come from that (a budget in tokens tells)"
    )


def other_sources(name: str, mixed: Mapping[str, float]) -> str | None:
    """What to say where a method gains on the sources of which it takes more rows."""
    if mixed["correlation"] > -WORTH_NAMING:
        return None
    return (
        f"{name}: over {mixed['sources']} sources its gain goes with the rows that it takes of each (correlation "
        f"{mixed['correlation']:.2f} of the log ratio to random rows with the difference in loss): another mixture of "
        "sources may be much of it (balanced methods tell)"
    )


def few_rows(name: str, counts: Mapping[str, int], difference: Estimate | None, of: Outcome) -> str | None:
    """What to say where the mean over sources rests on sources of few held-out rows too."""
    if difference is None:
        return None
    few = counts["of"] - counts["sources"]
    words = against(RANDOM, difference, of, undecided="no better than random")
    return (
        f"{name}: {few} of {counts['of']} sources have fewer than {counts['rows']} held-out rows and count as much as "
        f"any other; without them {words}"
    )


def shared_proxies(seeds: int, proxy_seeds: int) -> str | None:
    """What to say of intervals over seeds that share proxies."""
    if proxy_seeds >= seeds:
        return None
    return (
        f"{seeds} seeds share {proxy_seeds} proxies, so they are not quite independent: the intervals of methods that "
        "look at the proxy are somewhat too narrow"
    )
