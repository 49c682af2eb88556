"""The plots of docs/grpo.md, computed from the settings that GRPO here trains with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from markupsafe import Markup

from toolkit.config.sections import CLIP
from toolkit.page.svg import HEIGHT, WIDTH, Frame, Series, number, plot_scales, text, tick_percent

STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#5a6270}.grid{stroke:#8884;fill:none}.axis{stroke:#888;fill:none}"
    ".line{fill:none;stroke-width:2}.dashed{stroke-dasharray:5 4}.bold{font-weight:600}"
    ".s1{stroke:#1f6fb5}.s2{stroke:#c2540a}.s3{stroke:#1a7f5a}.s4{stroke:#8a4fa8}"
    "@media(prefers-color-scheme:dark){text{fill:#a3acba}}"
)
SIZES = (4, 8, 16, 32)
GROUP = 8
LABEL = 13  # between the lines of a legend


def plots() -> dict[str, str]:
    """The SVG of each plot, by its name."""
    return {"grpo_clip": clip(), "grpo_advantages": advantages(), "grpo_dead_groups": dead_groups()}


def clip() -> str:
    """What a token adds to the objective, by how far its probability has moved since it was sampled."""
    low, high = 1 - CLIP[0], 1 + CLIP[1]
    ratios = [i / 100 for i in range(50, 161)]
    good = [min(r, min(max(r, low), high)) for r in ratios]
    bad = [min(-r, -min(max(r, low), high)) for r in ratios]
    series = [_series("advantage +1", ratios, good, 1), _series("advantage -1", ratios, bad, 2)]
    return _draw(
        series, "The clipped objective of a token", "new probability / old probability", (-1.7, 1.7), number, (250, 104)
    )


def advantages() -> str:
    """The advantages in a group of right (reward 1) and wrong (0) completions, by how many are right."""
    right, wrong = [], []
    counts = range(1, GROUP)
    for k in counts:
        rewards = [1.0] * k + [0.0] * (GROUP - k)
        spread = stdev(rewards) + 1e-4  # as TRL does
        right.append((1 - fmean(rewards)) / spread)
        wrong.append((0 - fmean(rewards)) / spread)
    series = [_series("a right one", counts, right, 1), _series("a wrong one", counts, wrong, 2)]
    return _draw(
        series, f"Advantages in a group of {GROUP}", f"right completions among {GROUP}", (-3, 3), number, (60, 168)
    )


def dead_groups() -> str:
    """The chance that a group has no difference in it, by the pass rate of its prompt."""
    rates = [i / 100 for i in range(101)]
    series = [
        _series(f"groups of {size}", rates, [p**size + (1 - p) ** size for p in rates], i)
        for i, size in enumerate(SIZES, 1)
    ]
    return _draw(series, "Dead groups", "pass rate of the prompt", (0, 1), tick_percent, (170, 40))


def _series(name: str, x: Sequence[float], y: Sequence[float], colour: int) -> Series:
    return Series(name, tuple(zip(map(float, x), y, strict=True)), colour)


def _draw(
    series: Sequence[Series],
    title: str,
    x_title: str,
    y: tuple[float, float],
    y_text: Callable[[float], str],
    legend: tuple[float, float],
) -> str:
    """A file of its own: the report's chart, a legend at this place, and the colours of the report's page."""
    xs = [x for x, _ in series[0].points]
    frame = Frame(*plot_scales((min(xs), max(xs)), y), title, x_title, y_text)
    left, top = legend
    for i, each in enumerate(series):
        frame.line(each)
        at = top + LABEL * i
        frame.parts.append(Markup('<path class="line s{}" d="M{} {}h14"/>').format(each.colour, left, at - 4))
        frame.parts.append(text(left + 20, at, each.name, "start"))
    head, _, rest = str(frame.svg()).partition(">")
    space = ' xmlns="http://www.w3.org/2000/svg"'
    return f'{head}{space} width="{1.5 * WIDTH:g}" height="{1.5 * HEIGHT:g}"><style>{STYLE}</style>{rest}\n'
