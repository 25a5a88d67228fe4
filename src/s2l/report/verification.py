"""The theory, measured, as tables in the terminal, and each figure in a plain sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from s2l.errors import printable

LIMITS = (
    "What this does not show: whether training on the subset ends as well as on the pool. Like gradients at a "
    "checkpoint are what the theory asks for; only training both tells."
)


def print_verification(found: Mapping[str, Any], folder: str, console: Console) -> None:
    """Print what `verify` found in the run in `folder`."""
    models, trajectories = found["models"], found["trajectories"]
    parts: list[RenderableType] = [_similarity(found)]
    if any(model["mean_gradient"] for model in models):
        parts.append(_means(found))
    if trajectories:
        parts.append(_trajectories(trajectories))
    for model in models:
        parts += _sentences(_name(model), sentences_of(model))
    if trajectories:
        over_time = trajectories["over_time"]
        told = [at["sentence"] for at in trajectories["checkpoints"]] + ([over_time["sentence"]] if over_time else [])
        parts += _sentences(f"trajectories, the proxy's and those of {printable(trajectories['model'])}", told)
    console.print(Group(*parts, Text(LIMITS), Text(), Text(f"{printable(folder)}/verification.json", style="bold")))


def sentences_of(model: Mapping[str, Any]) -> list[str]:
    """What was found of one model, a sentence a figure."""
    alike = [model[group]["sentence"] for group in ("clusters", "sources") if model[group]]
    return alike + [
        f"Budget {mean['budget']}: {sentence}" for mean in model["mean_gradient"] for sentence in mean["sentences"]
    ]


def _similarity(found: Mapping[str, Any]) -> RenderableType:
    rows, sketch = found["rows"], found["sketch"]
    low, high = sketch["standard_errors"]
    title = (
        f"cosine of the gradients of two rows; {rows['pairs']:,} rows of {rows['clusters_of_pairs']} of "
        f"{rows['clusters']} clusters ({rows['clusters_of_one_row']} of one row), {sketch['dimensions']:,} dimensions, "
        f"so that one cosine errs by about {low:z.3f} ({high:z.3f} at most)"
    )
    table = _table(title, "model", "rows", "groups", "inside", "between", "difference (95 %)", "shuffled (95 %)")
    for model in found["models"]:
        for group in ("clusters", "sources"):
            if alike := model[group]:
                table.add_row(
                    _name(model),
                    f"{alike['rows']:,}",
                    f"{alike['groups']} {group}",
                    f"{alike['inside']:z.3f}",
                    f"{alike['between']:z.3f}",
                    _with(alike["difference"], alike["interval"]),
                    _with(alike["shuffled"], alike["shuffled_interval"]),
                )
    return table


def _means(found: Mapping[str, Any]) -> RenderableType:
    rows = found["rows"]
    title = (
        f"relative error of a subset's mean gradient; pool of {rows['pool']:,} of {rows['scorable']:,} rows, "
        f"{found['asked']['draws']} random draws (95 % of further ones)"
    )
    table = _table(title, "model", "budget", "rows", "S2L", "rank", "by cluster", "rank", "random")
    for model in found["models"]:
        for mean in model["mean_gradient"]:
            table.add_row(
                _name(model),
                mean["budget"],
                f"{mean['rows']:,}",
                f"{mean['unweighted']['error']:z.3f}",
                str(mean["rank_unweighted"]),
                f"{mean['weighted']['error']:z.3f}",
                str(mean["rank_weighted"]),
                _with(mean["random_mean"], mean["expected"]),
            )
    return table


def _trajectories(trajectories: Mapping[str, Any]) -> RenderableType:
    title = (
        f"rank correlation of losses over {trajectories['rows']:,} rows, proxy and {printable(trajectories['model'])}"
    )
    table = _table(title, "proxy at", "target at", "correlation (95 %)")
    for at in trajectories["checkpoints"]:
        table.add_row(
            f"step {at['proxy_step']:,} ({at['proxy_at']:.0%})",
            f"step {at['target_step']:,} ({at['target_at']:.0%})",
            _with(at["correlation"], at["interval"]),
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left", padding=(0, 1))
    for column in columns:
        table.add_column(
            column, justify="left" if column in {"model", "groups", "budget"} else "right", overflow="fold"
        )
    return table


def _sentences(heading: str, sentences: Sequence[str]) -> list[RenderableType]:
    return [Text(heading, style="bold"), *(Text(f"  {sentence}") for sentence in sentences), Text()]


def _name(model: Mapping[str, Any]) -> str:
    name = printable(model["model"])
    return name if model["step"] is None else f"{name}, step {model['step']:,}"


def _with(value: float, interval: Sequence[float]) -> str:
    return f"{value:z.3f} ({interval[0]:z.3f} to {interval[1]:z.3f})"
