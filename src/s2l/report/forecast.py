"""A forecast as tables in the terminal: what there is to do, how long it takes, what it needs, what it saves."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from s2l.errors import printable
from s2l.forecast.forecast import Forecast
from s2l.forecast.target import EPOCHS
from s2l.report.screen import duration

GPU_FLOPS = 150e12
GPU = "an A100 at half its peak, 150 TFLOP/s"


def print_forecast(forecast: Forecast, console: Console) -> None:
    """Print the forecast."""
    parts = (_facts(forecast), Text(), _stages(forecast), _needs(forecast), Text(), _targets(forecast))
    console.print(Group(*parts, Text(_verdict(forecast))))


def _facts(forecast: Forecast) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    one, proxy = forecast.one_pass, forecast.proxy
    scaled = forecast.sampled < one.rows
    about = f" (scaled from {forecast.sampled:,} rows)" if scaled else ""
    table.add_row("rows", f"{forecast.read:,} read, {forecast.excluded:,} of them excluded{about}")
    table.add_row(
        "tokens",
        f"{one.tokens:,.0f}, {one.response_tokens / one.tokens:.0%} of them of responses; {forecast.truncated:.1%} of "
        f"the rows cut at {forecast.settings.tokens.max_length} tokens{about}",
    )
    table.add_row(
        "proxy",
        Text(
            f"{printable(proxy.model)} ({proxy.parameters / 1e6:.1f} M parameters), {proxy.epochs:g} epochs, "
            f"{proxy.steps:,} steps of {proxy.batch_size:,} rows, {proxy.checkpoints} checkpoints; {proxy.device}, "
            f"{proxy.precision}, {proxy.threads} threads"
        ),
    )
    return table


def _stages(forecast: Forecast) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, title="how long", title_justify="left", padding=(0, 1))
    table.add_column("stage", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("from", overflow="fold")
    for stage in forecast.stages:
        table.add_row(stage.name, duration(stage.seconds), stage.basis)
    table.add_section()
    table.add_row("in all", duration(forecast.seconds), "Python's own start left out", style="bold")
    return table


def _needs(forecast: Forecast) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    disk, memory = forecast.disk, forecast.memory
    table.add_row(
        "disk",
        f"{_bytes(disk.at_the_end)}: checkpoints {_bytes(disk.checkpoints)}, trajectories {_bytes(disk.trajectories)}, "
        f"tokens {_bytes(disk.tokens)}, rows {_bytes(disk.rows)}, subsets {_bytes(disk.subsets)}; at most "
        f"{_bytes(disk.at_most)}, with the training's resume state of {_bytes(disk.resume)}",
    )
    more = (
        f", {_bytes(rows)} for the rows beyond the sample" if (rows := max(memory.tokens, memory.trajectories)) else ""
    )
    table.add_row(
        "memory",
        f"{_bytes(memory.peak)}: {_bytes(memory.probe)} at most while measuring, {_bytes(memory.held)} that a long run "
        f"comes to hold{more}",
    )
    table.add_row(
        "work",
        f"{forecast.train_flops:.2e} FLOPs to train the proxy, {forecast.score_flops:.2e} to score every row "
        f"{forecast.proxy.checkpoints} times",
    )
    return table


def _targets(forecast: Forecast) -> RenderableType:
    title = f"training the target, {EPOCHS:g} epochs: FLOPs (hours on {GPU}), selecting included"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", padding=(0, 1))
    for name in ("target", "subset", "all rows", "subset, equal epochs", "subset, equal steps", "selecting alone"):
        table.add_column(name, justify="left" if name in {"target", "subset"} else "right")
    rows = {asked.budget: asked.rows for asked in forecast.budgets}
    for cost in forecast.targets:
        table.add_row(
            _short(cost.parameters),
            f"{cost.budget} ({rows[cost.budget]:,} rows)",
            f"{cost.full:.2e} ({_hours(cost.full / GPU_FLOPS / 3600)})",
            f"{cost.equal_epochs:.2e} {cost.equal_epochs / cost.full:6.1%}",
            f"{cost.equal_steps:.2e} {cost.equal_steps / cost.full:6.1%}",
            _percent(cost.selection_share),
        )
    return table


def _verdict(forecast: Forecast) -> str:
    return "\n".join(
        f"{asked.budget}: selecting and training on the subset, for equal epochs, costs less than training on all rows "
        f"if the target has more than {_short(parameters)} parameters"
        if parameters is not None
        else f"{asked.budget}: nothing is saved: that is every row"
        for asked, parameters in zip(forecast.budgets, forecast.worthwhile, strict=True)
    )


def _hours(hours: float) -> str:
    return f"{hours:,.0f} h" if hours >= 10 else f"{hours:.2g} h"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.2%}" if share >= 1e-4 else "under 0.01%"


def _short(number: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def _bytes(size: float) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"
