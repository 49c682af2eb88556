"""SVG charts as text: scales, ticks, axes, and the four kinds of chart that the report has.

Colours are classes (s0, s1, … for series) that style.css defines for light and dark. Coordinates are user units of the
viewBox; the page scales the whole. Every text passes markupsafe, so a name from a file can't become markup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from eval.shown import WHOLE, percent

Point = tuple[float, float]
SERIES = 7  # colours in style.css
WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 38


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name, its points from left to right, and the number of its colour. dots: markers at the points."""

    name: str
    points: tuple[Point, ...]
    colour: int = 0
    dots: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map of [low, high] to [start, end]; the low end is the middle where both are the same."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The coordinate of a value, to a hundredth."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 2)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) within [low, high], about as many as wanted."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def number(value: float) -> str:
    """A tick's text: as short as it may be; thousands as k."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"


def tick_percent(value: float) -> str:
    """A tick's text for a share: as short as it may be, and nothing whole that isn't."""
    shown = f"{100 * value:.4g}%"
    return percent(value) if shown == "100%" and value < 1 - WHOLE else shown


@dataclass(frozen=True, slots=True)
class Frame:
    """The plot's area and its axes. x_names: texts for categories at 0, 1, 2, …; without them x is a number."""

    x: Scale
    y: Scale
    label: str
    x_title: str = ""
    y_text: Callable[[float], str] = number
    x_names: tuple[str, ...] = ()
    height: int = HEIGHT
    parts: list[Markup] = field(default_factory=list)

    def svg(self) -> Markup:
        """The whole chart."""
        bottom = self.height - BOTTOM
        out = [
            Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, self.height, self.label),
            Markup("<title>{}</title>").format(self.label),
        ]
        for value in ticks(self.y.low, self.y.high):
            at = self.y(value)
            out.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, at, WIDTH - RIGHT))
            out.append(text(LEFT - 6, at + 4, self.y_text(value), "end"))
        named = [(float(i), name) for i, name in enumerate(self.x_names)]
        named = named or [(value, number(value)) for value in ticks(self.x.low, self.x.high)]
        out += [text(self.x(value), bottom + 16, name) for value, name in named]
        out.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(LEFT, bottom, WIDTH - RIGHT))
        if self.x_title:
            out.append(text((LEFT + WIDTH - RIGHT) / 2, self.height - 4, self.x_title))
        return Markup("").join([*out, *self.parts, Markup("</svg>")])

    def line(self, series: Series) -> None:
        """Draw a line, or a marker where there is one point only."""
        name = f"s{series.colour % SERIES}"
        at = [(self.x(x), self.y(y)) for x, y in series.points]
        if len(at) > 1:
            path = "M" + "L".join(f"{x} {y}" for x, y in at)
            dash = " dashed" if series.dashed else ""
            self.parts.append(Markup('<path class="line {}{}" d="{}"/>').format(name, dash, path))
        if series.dots or len(at) == 1:
            for (x, y), (_, value) in zip(at, series.points, strict=True):
                shown = f"{series.name}: {self.y_text(value)}"
                self.parts.append(
                    Markup('<circle class="dot {}" cx="{}" cy="{}" r="3.5"><title>{}</title></circle>').format(
                        name, x, y, shown
                    )
                )

    def interval(self, x: float, low: float, high: float, colour: int) -> None:
        """Draw an upright error bar."""
        d = f"M{self.x(x)} {self.y(low)}V{self.y(high)}"
        self.parts.append(Markup('<path class="error s{}" d="{}"/>').format(colour % SERIES, d))

    def bar(self, low: float, high: float, base: float, top: float, name: str, said: str) -> None:
        """Draw an upright bar over [low, high] of x, from base to top of y."""
        x, y = self.x(low), self.y(top)
        width, height = round(self.x(high) - x - 0.6, 2), round(self.y(base) - y, 2)
        self.parts.append(
            Markup('<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
                name, x, y, max(width, 0.4), height, said
            )
        )


def text(x: float, y: float, said: str, anchor: str = "middle") -> Markup:
    """A text of the chart."""
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, said)


def plot_scales(x: Point, y: Point, height: int = HEIGHT, inset: int = 0) -> tuple[Scale, Scale]:
    """Scales that fill the plot's area. inset: room at both ends of x, for categories."""
    across = Scale(*x, LEFT + inset, WIDTH - RIGHT - inset)
    return across, Scale(*y, height - BOTTOM, TOP)


def line_chart(
    series: Sequence[Series],
    label: str,
    *,
    x_title: str = "step",
    y: Point | None = None,
    y_text: Callable[[float], str] = number,
) -> Markup:
    """Lines over a common x. y: the range of the axis; by default from 0 (or the least value) to the greatest value."""
    low, high = span(x for each in series for x, _ in each.points)
    if y is None:
        least, most = span(value for each in series for _, value in each.points)
        y = (min(0.0, least), most if most > min(0.0, least) else 1.0)
    frame = Frame(*plot_scales((low, high), y), label, x_title, y_text)
    for each in series:
        frame.line(each)
    return frame.svg()


def interval_cell(low: float, middle: float, high: float, axis: Point, side: int, said: str) -> Markup:
    """A row of a forest plot: the interval as a line, its middle as a square, zero as an upright line.

    side: 1 to colour it as a gain, -1 as a loss, 0 as neither.
    """
    x = Scale(*axis, 6, 254)
    colour = {1: "up", -1: "down", 0: "even"}[side]
    return Markup(
        '<svg class="forest" viewBox="0 0 260 22" role="img" aria-label="{}"><title>{}</title>'
        '<path class="zero" d="M{} 0V22"/><path class="whisker {}" d="M{} 11H{}M{} 7V15M{} 7V15"/>'
        '<rect class="middle {}" x="{}" y="7" width="8" height="8"/></svg>'
    ).format(said, said, x(0), colour, x(low), x(high), x(low), x(high), colour, round(x(middle) - 4, 2))


def interval_axis(axis: Point) -> Markup:
    """The axis over the rows of a forest plot, in percentage points."""
    x = Scale(*axis, 6, 254)
    marks = ticks(*axis, wanted=4)
    texts = [text(min(max(x(v), 14), 246), 14, f"{100 * v:+.4g}" if v else "0") for v in marks]
    return Markup('<svg class="forest" viewBox="0 0 260 18" aria-hidden="true">{}</svg>').format(Markup("").join(texts))


def span(values: Iterable[float]) -> Point:
    """The least and the greatest; (0, 1) of none."""
    found = list(values)
    return (min(found), max(found)) if found else (0.0, 1.0)
