"""Drawings (SVG) of lines over an axis, small enough to read as text and to keep in a repository."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

INK, MARGIN = "#24292f", 52
COLOURS = ("#9a9a9a", "#1f6feb", "#d1242f", "#2da44e", "#8250df", "#bf8700", "#0a7f8c", "#cf5aa5")


@dataclass(frozen=True)
class Axis:
    """What it is called, where it begins and ends, where numbers stand. log: equal steps are equal factors."""

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    log: bool = False

    def share(self, value: float) -> float:
        """How far along the axis a value lies, 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass
class Plot:
    """A drawing under construction: `line` and `dot` add to it, `render` gives the text."""

    x: Axis
    y: Axis
    width: int = 320
    height: int = 320
    _parts: list[str] = field(default_factory=list)
    _names: int = 0

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the axes is drawn."""
        left, top = 1.0 * MARGIN, MARGIN / 2
        return left + self.x.share(x) * self.width, top + (1 - self.y.share(y)) * self.height

    def line(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        """A line through points of the axes."""
        places = " ".join("{:.1f},{:.1f}".format(*self.at(*point)) for point in points)
        self._parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>')

    def guide(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """A dashed line from one point of the axes to another, to hold the others against."""
        (a, b), (c, d) = self.at(*begin), self.at(*end)
        self._parts.append(f'<path d="M{a},{b} L{c},{d}" stroke="{INK}" stroke-dasharray="4 4"/>')

    def dot(self, point: tuple[float, float], radius: float, colour: str) -> None:
        x, y = self.at(*point)
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" opacity="0.5"/>')

    def name(self, text: str, colour: str) -> None:
        """Adds a row of the legend, which stands in the upper left corner."""
        y = MARGIN / 2 + 16 + 18 * self._names
        self._names += 1
        self._parts.append(f'<text x="{MARGIN + 10}" y="{y}" fill="{colour}">{escaped(text)}</text>')

    def render(self) -> str:
        width, height = self.width + 1.5 * MARGIN, self.height + 1.5 * MARGIN
        left, top, bottom = MARGIN, MARGIN / 2, MARGIN / 2 + self.height
        middle = left + self.width / 2
        frame = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" '
            f'font-size="12" fill="{INK}">',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            f'<path d="M{left},{top} L{left},{bottom} L{left + self.width},{bottom}" fill="none" stroke="{INK}"/>',
            f'<text x="{middle}" y="{height - 6:.0f}" text-anchor="middle">{escaped(self.x.label)}</text>',
            f'<text transform="translate(12 {top + self.height / 2}) rotate(-90)" text-anchor="middle">'
            f"{escaped(self.y.label)}</text>",
        ]
        for tick in self.x.ticks:
            x, _ = self.at(tick, self.y.low)
            frame.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
        for tick in self.y.ticks:
            _, y = self.at(self.x.low, tick)
            frame.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        return "\n".join([*frame, *self._parts, "</svg>", ""])


def escaped(text: str) -> str:
    """Text as XML has it between tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
