"""The main plots as SVG, PDF and PNG for papers, by matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2l.errors import SettingsError
from s2l.extras import to_install
from s2l.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = ("svg", "pdf", "png")
POOL, CHOSEN, FAINT = "#8a93a0", "#0072b2", "#b9c0ca"
STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "s2l",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
}
WITHOUT_DATE: Mapping[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
MOST_SOURCES = 20


def write(found: Mapping[str, Any], folder: Path) -> list[Path]:
    """Every figure in every kind, into a folder that is made if need be; the same bytes for the same run.

    SettingsError where matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise SettingsError(f"--figures needs matplotlib: {to_install('figures')}") from None
    written = []
    with rc_context(STYLE):
        for name, (width, height, draw) in FIGURES.items():
            figure = Figure(figsize=(width, height), layout="constrained")
            draw(found, figure.subplots())
            for kind in KINDS:
                path = folder / f"{name}.{kind}"
                with written_whole(path) as part:
                    figure.savefig(part, format=kind, dpi=300, metadata=WITHOUT_DATE[kind])
                written.append(path)
    return written


def trajectories(found: Mapping[str, Any], axes: Axes) -> None:
    """Mean loss of every group, of all rows and of those chosen, with the band of all rows."""
    curves = found["curves"]
    steps = curves["steps"]
    for group in curves["groups"]:
        axes.plot(steps, group["mean"], color=FAINT, linewidth=0.4, marker="." if len(steps) == 1 else "")
    axes.fill_between(steps, curves["all"]["low"], curves["all"]["high"], color=POOL, alpha=0.2, linewidth=0)
    axes.plot(steps, curves["all"]["mean"], color="black", linewidth=1.5, label="all rows")
    if curves["chosen"]:
        axes.plot(steps, curves["chosen"]["mean"], color=CHOSEN, linewidth=1.5, label="chosen rows")
    axes.set(xlabel="training step of the proxy", ylabel="mean loss, nats per token", ylim=(0, None))
    axes.legend(frameon=False)


def plane(found: Mapping[str, Any], axes: Axes) -> None:
    """Loss trajectories along their two principal components."""
    shares = [f"{100 * share:.0f} % of the variance" for share in found["plane"]["explained"]]
    _scatter(found["plane"], "x", "y", axes)
    axes.set(xlabel=f"first component, {shares[0]}", ylabel=f"second component, {shares[1]}")


def cartography(found: Mapping[str, Any], axes: Axes) -> None:
    """The data map: confidence against variability."""
    _scatter(found["plane"], "variability", "confidence", axes)
    axes.set(xlabel="variability", ylabel="confidence")


def sources(found: Mapping[str, Any], axes: Axes) -> None:
    """Share of the largest sources in the pool and in the subset."""
    shown = found["changes"]["sources"][:MOST_SOURCES][::-1]
    for offset, key, colour, label in ((0.2, "share", POOL, "pool"), (-0.2, "chosen_share", CHOSEN, "subset")):
        places = [place + offset for place in range(len(shown))]
        axes.barh(places, [100 * source[key] for source in shown], height=0.38, color=colour, label=label)
    axes.set_yticks(range(len(shown)), [source["name"] for source in shown])
    axes.set(xlabel="share of the rows, %")
    axes.legend(frameon=False)


def losses(found: Mapping[str, Any], axes: Axes) -> None:
    """Distribution of the loss at the last checkpoint, pool and subset."""
    last = found["changes"]["distributions"][-1]
    axes.stairs(last["all"], last["edges"], color=POOL, fill=True, alpha=0.6, label="pool")
    if last["chosen"]:
        axes.stairs(last["chosen"], last["edges"], color=CHOSEN, linewidth=1.5, label="subset")
    axes.set(xlabel="loss at the last checkpoint, nats per token", ylabel="share of the rows")
    axes.legend(frameon=False)


FIGURES: Mapping[str, tuple[float, float, Callable[[Mapping[str, Any], Axes], None]]] = {
    "trajectories": (3.4, 2.5, trajectories),
    "map": (3.4, 2.8, plane),
    "cartography": (3.4, 2.8, cartography),
    "sources": (4.8, 3.4, sources),
    "losses": (3.4, 2.2, losses),
}


def _scatter(points: Mapping[str, Any], x: str, y: str, axes: Axes) -> None:
    for chosen, colour, label in ((0, POOL, "not chosen"), (1, CHOSEN, "chosen")):
        here = [i for i, is_chosen in enumerate(points["chosen"]) if is_chosen == chosen]
        if here:
            xs, ys = ([points[axis][i] for i in here] for axis in (x, y))
            axes.scatter(xs, ys, s=3, color=colour, alpha=0.5, linewidths=0, label=label, rasterized=True)
    axes.legend(frameon=False, markerscale=2)
