"""The report's figures: learning curve, forest plot, lengths, training curves. Each gives rows or SVG for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from markupsafe import Markup

from eval.shown import p_value, percent
from toolkit.page.sources import FINAL, ORDER, Evaluation, Row, Sources, same_examples
from toolkit.page.svg import (
    Frame,
    Point,
    Series,
    interval_axis,
    interval_cell,
    line_chart,
    plot_scales,
    tick_percent,
)
from toolkit.page.verdict import Paired, points, side

BINS = 24
SIDES = {"better": 1, "worse": -1}
POINTS = 300  # of a training curve; longer logs are averaged


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure: its title, the drawing, a legend of (name, colour), and what else there is to say."""

    title: str
    svg: Markup
    legend: tuple[tuple[str, int], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class SliceRow:
    """A row of a forest plot, its cells as texts. p: adjusted for the number of slices, where the comparison has it."""

    tag: str
    value: str
    n: int
    base: str
    candidate: str
    difference: str
    interval: str
    cell: Markup
    p: str = ""


def learning_curve(sources: Sources) -> Chart | None:
    """Exact over base, SFT and GRPO models in order, with intervals; a line a run, a dashed one a peer. None of one."""
    every = [each for each in sources.evaluations if each.stage in ORDER]
    staged = [each for each in every if same_examples(each, every[0])]
    places = sorted({_place(each) for each in staged})
    if len(places) < 2:
        return None
    names = tuple(_place_name(place) for place in places)
    x, y = plot_scales((0, len(places) - 1), (0, 1), inset=34)
    frame = Frame(x, y, _curve_label(staged), "", tick_percent, names)
    legend = []
    runs = sorted({each.run for each in staged}, key=lambda run: -1 if run is None else run)
    for colour, run in enumerate(runs, 1):
        own = sorted((each for each in staged if each.run == run), key=_place)
        at = tuple((float(places.index(_place(each))), each.summary.overall.exact.value) for each in own)
        for each, (place, _) in zip(own, at, strict=True):
            frame.interval(place, each.summary.overall.exact.low, each.summary.overall.exact.high, colour)
        frame.line(Series("exact", at, colour, dots=True))
        legend.append(("exact" if len(runs) == 1 else _run_name(sources, run), colour))
    peers = [each for each in sources.evaluations if each.stage == "peer" and same_examples(each, staged[0])]
    for colour, each in enumerate(peers, len(runs) + 1):
        value = each.summary.overall.exact.value
        frame.line(Series(each.label, ((0, value), (len(places) - 1, value)), colour, dashed=True))
        legend.append((f"{each.label} {percent(value)}", colour))
    shown = tuple(legend) if len(legend) > 1 else ()  # a single line needs no name
    missing = "".join(f" {each.label} answered other examples and is left out." for each in every if each not in staged)
    return Chart("Exact, from stage to stage", frame.svg(), shown, f"Bars: 95% intervals.{missing}")


def _place(each: Evaluation) -> tuple[int, float]:
    return ORDER.index(each.stage), each.step


def _place_name(place: tuple[int, float]) -> str:
    stage, step = place
    if step != FINAL:
        return f"{ORDER[stage].upper()} {step:.0f}"
    return "base" if ORDER[stage] == "base" else ORDER[stage].upper()


def _run_name(sources: Sources, run: int | None) -> str:
    return "other evaluations" if run is None else sources.runs[run].name


def _curve_label(staged: Sequence[Evaluation]) -> str:
    return "Exact: " + ", ".join(f"{each.label} {percent(each.summary.overall.exact.value)}" for each in staged)


def forest(paired: Paired) -> tuple[Markup, dict[str, list[SliceRow]]]:
    """The axis and the rows by tag, the greatest difference first; under "" the row of all examples."""
    found = paired.comparison
    by_tag: Mapping[str, Mapping[str, Row]] = found.get("by_tag") or {}
    if found.get("overall") is None:
        return Markup(""), {}
    every = [found["overall"], *(some for values in by_tag.values() for some in values.values())]
    low, high = min(each["low"] for each in every), max(each["high"] for each in every)
    room = 0.04 * max(high - min(low, 0), 0.1)
    axis = (min(low, 0.0) - room, max(high, 0.0) + room)
    rows = {"": [_slice_row("", "all examples", found["overall"], axis, SIDES.get(paired.verdict, 0))]}
    for tag, values in by_tag.items():
        ordered = sorted(values.items(), key=lambda item: -item[1]["difference"])
        rows[tag] = [_slice_row(tag, value, some, axis, side(found, some)) for value, some in ordered]
    return interval_axis(axis), rows


def _slice_row(tag: str, value: str, some: Row, axis: Point, side: int) -> SliceRow:
    interval = f"{points(some['low'])} to {points(some['high'])}"
    adjusted = some.get("p_holm")
    drawn = (some["low"], some["difference"], some["high"])
    return SliceRow(
        tag,
        value,
        int(some["n"]),
        percent(some["base"]),
        percent(some["candidate"]),
        points(some["difference"]),
        interval,
        interval_cell(*drawn, axis, side, f"{points(some['difference'])} ({interval})"),
        "" if adjusted is None else p_value(adjusted),
    )


def lengths(sources: Sources) -> list[Chart]:
    """A histogram of completion lengths for each model, on common axes; cut completions are marked."""
    longest = max((record.tokens for each in sources.evaluations for record in each.records), default=0)
    if not longest:
        return []
    width = max(1, -(-(longest + 1) // BINS))
    counted = [(each, *_binned(each, width)) for each in sources.evaluations]
    highest = max((n / len(each.records) for each, whole, cut in counted for n in (whole + cut).values()), default=1.0)
    scales = plot_scales((0, width * (longest // width + 1)), (0, highest), height=170)
    charts = []
    for each, whole, cut in counted:
        if not each.records:
            continue
        mean = each.summary.overall.tokens
        frame = Frame(*scales, f"{each.label}: mean length {mean:.0f} tokens", "tokens", tick_percent, height=170)
        for bin_ in sorted(whole.keys() | cut.keys()):
            at = (bin_ * width, (bin_ + 1) * width)
            below, top = (n / len(each.records) for n in (whole[bin_], whole[bin_] + cut[bin_]))
            said = f"{at[0]}-{at[1] - 1} tokens: {whole[bin_]} whole, {cut[bin_]} cut"
            frame.bar(*at, 0, below, "whole", said)
            if cut[bin_]:
                frame.bar(*at, below, top, "cut", said)
        charts.append(Chart(each.label, frame.svg(), note=f"mean {mean:.0f} tokens, {sum(cut.values())} cut"))
    return charts


def _binned(each: Evaluation, width: int) -> tuple[Counter[int], Counter[int]]:
    cut = Counter(record.tokens // width for record in each.records if record.finish_reason == "length")
    return Counter(record.tokens // width for record in each.records if record.finish_reason != "length"), cut


def training(logs: Mapping[str, Sequence[Row]]) -> list[Chart]:
    """The curves of one run: SFT loss; GRPO reward by component, completion length, shares, and what else is logged."""
    sft, grpo = (_by_step(logs.get(stage, ())) for stage in ("sft", "grpo"))
    rewards = sorted({key for row in grpo for key in row if key.startswith("rewards/") and key.endswith("/mean")})
    parts = {key: key.removeprefix("rewards/").removesuffix("/mean") for key in rewards}
    length = {"completions/mean_length": "mean", "completions/max_length": "longest"}
    shares = {"completions/clipped_ratio": "cut completions", "frac_reward_zero_std": "groups of equal rewards"}
    held = {"exact": "exact", "format": "well formed", "truncated": "cut"}
    wanted: list[tuple[str, Sequence[Row], Mapping[str, str], Callable[[float], str] | None]] = [
        ("SFT: loss", sft, {"loss": "training", "eval_loss": "validation"}, None),
        ("SFT: held-out examples", sft, held, tick_percent),
        ("GRPO: held-out examples", grpo, held, tick_percent),
        ("GRPO: reward, summed and by part", grpo, {"reward": "weighted sum", **parts}, None),
        ("GRPO: completion length, tokens", grpo, length, None),
        ("GRPO: shares that teach nothing", grpo, shares, tick_percent),
        ("GRPO: entropy of the tokens", grpo, {"entropy": "entropy"}, None),
        ("GRPO: KL to the start", grpo, {"kl": "KL"}, None),
    ]
    return [chart for each in wanted if (chart := _curves(*each)) is not None]


def _curves(
    title: str, rows: Sequence[Row], keys: Mapping[str, str], y_text: Callable[[float], str] | None
) -> Chart | None:
    series, legend, every = [], [], 1
    for colour, (key, name) in enumerate(keys.items(), 1):
        at = [(float(row["step"]), float(row[key])) for row in rows if isinstance(row.get(key), int | float)]
        if not at:
            continue
        every = max(every, -(-len(at) // POINTS))
        line = tuple(averaged(at, -(-len(at) // POINTS)))
        series.append(Series(name, line, colour, dots=len(line) <= 12))
        last = line[-1][1]
        legend.append((f"{name}, last {tick_percent(last) if y_text else f'{last:.3g}'}", colour))
    if not series:
        return None
    label = f"{title}. " + "; ".join(
        f"{each.name} from {each.points[0][1]:.3g} to {each.points[-1][1]:.3g}" for each in series
    )
    shares = y_text is not None
    svg = line_chart(series, label, y=(0, 1), y_text=tick_percent) if shares else line_chart(series, label)
    return Chart(title, svg, tuple(legend), f"Each point is the mean of {every} log entries." if every > 1 else "")


def averaged(at: Sequence[Point], every: int) -> list[Point]:
    """Means of each `every` points; as given for 1."""
    chunks = (at[i : i + every] for i in range(0, len(at), every))
    return [(fmean(x for x, _ in chunk), fmean(y for _, y in chunk)) for chunk in chunks]


def _by_step(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One row a step; a resumed run repeats the steps since its checkpoint, and the later entry counts."""
    merged: dict[Any, dict[str, Any]] = {}
    for row in rows:
        if isinstance(row.get("step"), int):
            merged[row["step"]] = {**merged.get(row["step"], {}), **row}
    return [merged[step] for step in sorted(merged)]
