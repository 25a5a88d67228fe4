"""A small SVG writer: lines, bars, dots and words, every word escaped and printable; axes with round numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10

from jinja2 import Environment

from s2l.errors import printable

PAGE = Environment(autoescape=True).from_string(
    """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ width }} {{ height }}" width="{{ width }}" \
height="{{ height }}" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="{{ title }}">
<title>{{ title }}</title>
<rect width="100%" height="100%" fill="white"/>
{% for one in lines %}<path d="{{ one.path }}" fill="none" stroke="{{ one.colour }}" stroke-width="{{ one.width }}"\
{% if one.dashed %} stroke-dasharray="5 4"{% endif %}/>
{% endfor %}{% for one in bars %}<rect x="{{ one.x }}" y="{{ one.y }}" width="{{ one.width }}" \
height="{{ one.height }}" fill="{{ one.colour }}"/>
{% endfor %}{% for one in dots %}<circle cx="{{ one.x }}" cy="{{ one.y }}" r="4" fill="{{ one.colour }}"/>
{% endfor %}{% for one in words %}<text x="{{ one.x }}" y="{{ one.y }}" text-anchor="{{ one.anchor }}" \
fill="{{ one.colour }}"{% if one.bold %} font-weight="600"{% endif %}>{{ one.text }}</text>
{% endfor %}</svg>
"""
)
INK, PALE = "#222222", "#d9d9d9"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#5b5ea6", "#56b4e9", "#7f7f7f", "#a0522d", "#2f4f4f")
"""Told apart by the colour-blind too, as far as that goes (Okabe & Ito 2008 first)."""


@dataclass
class Figure:
    """What is drawn, in pixels from the upper left."""

    title: str
    width: int
    height: int
    lines: list[dict[str, object]] = field(default_factory=list)
    bars: list[dict[str, object]] = field(default_factory=list)
    dots: list[dict[str, object]] = field(default_factory=list)
    words: list[dict[str, object]] = field(default_factory=list)

    def line(
        self, points: Sequence[tuple[float, float]], colour: str = PALE, width: float = 1, dashed: bool = False
    ) -> None:
        """A line through the points."""
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.lines.append({"path": path, "colour": colour, "width": width, "dashed": dashed})

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled rectangle."""
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{max(width, 0):.1f}", "height": f"{height:.1f}"}
        self.bars.append({**place, "colour": colour})

    def dot(self, x: float, y: float, colour: str) -> None:
        """A filled circle."""
        self.dots.append({"x": f"{x:.1f}", "y": f"{y:.1f}", "colour": colour})

    def text(self, x: float, y: float, text: str, anchor: str = "start", colour: str = INK, bold: bool = False) -> None:
        """A word or more on one line."""
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}"}
        self.words.append({**place, "text": printable(text), "anchor": anchor, "colour": colour, "bold": bold})

    def page(self) -> str:
        """The SVG."""
        return PAGE.render(**vars(self) | {"title": printable(self.title)})


@dataclass(frozen=True)
class Scale:
    """Values → pixels, from `low` at `start` to `high` at `stop`."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Where the value is drawn."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Some five round values within."""
        step = _round_step((self.high - self.low) / about)
        return [n * step for n in range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)]


def spanning(values: Sequence[float], start: float, stop: float) -> Scale:
    """A scale with room for all values, and a little more."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - room, high + room, start, stop)


def number(value: float, step: float) -> str:
    """As many decimals as the step between ticks needs."""
    return f"{value + 0.0:.{max(0, -floor(log10(step) + 1e-9))}f}"


def _round_step(rough: float) -> float:
    unit = 10.0 ** floor(log10(rough))
    return next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * (1 - 1e-9))
