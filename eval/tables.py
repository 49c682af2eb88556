"""Summaries and comparisons as tables: boxed in a terminal, tab-separated in a pipe."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.compare import Comparison, Flip
from eval.differences import Difference
from eval.noise import Noise
from eval.shown import confidence, interval, p_is, p_value, percent, points, points_interval
from eval.summary import Rate, Slice, Summary

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Grid:
    """A table before it is drawn. The first column is text, the others are numbers. lines come below it.

    None of its texts holds a line break or a tab: a tag's value may, and would end its row.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Put what came with line breaks into one line."""
        object.__setattr__(self, "title", one_line(self.title))
        object.__setattr__(self, "rows", tuple(tuple(map(one_line, row)) for row in self.rows))
        object.__setattr__(self, "lines", tuple(re.sub(r"[^\S ]+", " ", line) for line in self.lines))


def summary_grid(summary: Summary) -> Grid:
    """One row for all examples, one for each value of each tag."""
    header = ("slice", "n", "exact", "95% CI", "format", "truncated", "bounds", "tokens", "errors")
    rows = [_summary_row("all", summary.overall)]
    for tag, values in summary.by_tag.items():
        rows += [_summary_row(f"{tag}={value}", some) for value, some in values.items()]
    counts = ", ".join(f"{status} {count}" for status, count in summary.overall.statuses.items())
    lines = [f"INVALID: {reason}" for reason in summary.invalid] + [f"completions: {counts}"]
    if summary.overall.statuses["truncated"]:
        low, high = summary.overall.bounds
        lines.append(
            f"bounds: exact is {percent(low)} with all truncated wrong, {percent(high)} with all of them right"
        )
    lines += _sample_lines(summary)
    if summary.rewards:
        lines.append("mean rewards: " + ", ".join(f"{name} {value:.3f}" for name, value in summary.rewards.items()))
    if summary.completions and summary.seconds:
        speed = summary.completions / summary.seconds
        lines.append(f"generated {summary.completions} completions in {summary.seconds:.1f} s ({speed:.1f}/s)")
    if summary.cached:
        lines.append(f"took {summary.cached} completions from the cache")
    title = f"{summary.task}: {summary.model}" + (" (invalid)" if summary.invalid else "")
    return Grid(title, header, tuple(rows), tuple(lines))


def _sample_lines(summary: Summary) -> list[str]:
    if not summary.pass_at:
        return []
    samples = summary.overall.samples // summary.overall.n
    lines = [f"mean of {samples}: {percent(summary.overall.exact.value)} ({_ci(summary.overall.exact)})"]
    for name, rates in (("pass", summary.pass_at), ("maj", summary.majority_at)):
        lines.append(", ".join(f"{name}@{k} {percent(rate.value)} ({_ci(rate)})" for k, rate in rates.items()))
    return lines


def _summary_row(name: str, some: Slice) -> tuple[str, ...]:
    return (
        name,
        str(some.n),
        percent(some.exact.value),
        _ci(some.exact),
        percent(some.format.value),
        percent(some.truncated.value),
        interval(*some.bounds),
        f"{some.tokens:.0f}",
        str(some.statuses["error"]),
    )


def _ci(rate: Rate) -> str:
    return interval(rate.low, rate.high)


def comparison_grid(comparison: Comparison, flips: int = 3) -> Grid:
    """Differences, overall and by tag; below, the verdict with its grounds and up to `flips` examples each way."""
    header = ("slice", "n", "base", "candidate", "difference", f"{confidence(comparison.alpha)} CI", "Holm p")
    rows = []
    if comparison.overall is not None:
        rows.append(_difference_row("all", comparison.overall))
    for tag, values in (comparison.by_tag or {}).items():
        rows += [_difference_row(f"{tag}={value}", some) for value, some in values.items()]
    title = f"{comparison.candidate} against {comparison.base}"
    return Grid(title, header, tuple(rows), (*verdict_lines(comparison), *_flip_lines(comparison, flips)))


def _difference_row(name: str, some: Difference) -> tuple[str, ...]:
    return (
        name,
        str(some.n),
        percent(some.base),
        percent(some.candidate),
        points(some.difference),
        points_interval(some.low, some.high),
        "" if some.p_holm is None else p_value(some.p_holm),
    )


def verdict_lines(comparison: Comparison) -> tuple[str, ...]:
    """The verdict, what it rests on, what to do when there is none."""
    lines = [f"verdict: {comparison.verdict}"]
    if comparison.overall is not None:
        p = "" if comparison.p is None else f"; exact McNemar {p_is(comparison.p, 3)}"
        some = comparison.overall
        lines.append(f"gained {len(comparison.gained)}, lost {len(comparison.lost)} of {some.n}{p}")
        if some.clusters < some.n or comparison.p is None:
            lines.append(f"sign flips over {some.clusters} groups: {p_is(some.p, 3)}")
        smallest = "none" if some.detectable == 1 else f"{100 * some.detectable:.1f} pt"
        lines.append(f"smallest difference that this sample shows with power 0.8: {smallest}")
        for name, slices in (("better", comparison.better_slices), ("worse", comparison.worse_slices)):
            lines.append(f"slices {name} after Holm: {', '.join(slices) or 'none'}")
    if comparison.examples_needed is not None:
        margin = f"±{100 * comparison.margin:g} pt"
        lines.append(f"to tell, with equal meaning within {margin}: about {comparison.examples_needed} examples")
    lines += [f"not comparable: {reason}" for reason in comparison.reasons]
    lines += [f"note: {note}" for note in comparison.notes]
    return tuple(lines)


def _flip_lines(comparison: Comparison, flips: int) -> list[str]:
    lines = []
    for name, group in (("gained", comparison.gained), ("lost", comparison.lost)):
        for flip in group[:flips]:
            lines += _flip(name, flip)
    return lines


def one_line(text: str) -> str:
    """The text with one space for each run of white space."""
    return " ".join(text.split())


def _flip(name: str, flip: Flip) -> list[str]:
    return [
        f"{name} {flip.id} (gold {flip.gold})",
        f"  base:      {one_line(flip.base)}",
        f"  candidate: {one_line(flip.candidate)}",
    ]


def noise_lines(noise: Noise) -> list[str]:
    """The outcome, a line a fact."""
    rate, low, high = noise.flip_rate
    some = noise.difference
    how = ", ".join(noise.notes) or "no difference on record"
    return [
        f"{noise.task}: {noise.model} against itself, {noise.n} examples ({how})",
        f"completions that differ: {noise.texts} of {noise.completions}",
        f"scores that flip: {noise.flips} of {noise.n}, {percent(rate)} ({interval(low, high)})",
        f"difference of the means: {points(some.difference)}",
        f"noise floor: ±{100 * noise.floor:.1f} pt; 95% of reruns stay within",
    ]


def to_text(grid: Grid) -> str:
    """Title, header and rows, tab-separated, then the lines: for a pipe or a file."""
    table = ["\t".join(row) for row in (grid.header, *grid.rows)] if grid.rows else []
    return "\n".join([grid.title, *table, *grid.lines]) + "\n"


def markdown_table(grid: Grid) -> list[str]:
    """The table's lines: header and rows. What its cells say isn't taken for Markdown."""
    rule = ("---", *["---:"] * (len(grid.header) - 1))
    cells = [map(escape_markdown, row) for row in (grid.header, *grid.rows)]
    return [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]


def escape_markdown(text: str) -> str:
    """A line with a backslash before each sign that Markdown, or a link in it, would take for its own.

    GitHub looks for @names in what is shown, where no backslash is left: a space of no width parts them.
    """
    escaped = re.sub(r"([\\|*_`<>\[\]#~&$]|:(?=//)|(?<=www)\.)", r"\\\1", text, flags=re.IGNORECASE)
    return escaped.replace("@", "@\u200b")


def to_table(grid: Grid) -> Table:
    """The rich table, without the lines."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(grid.title), title_justify="left", box=box.SIMPLE_HEAD)
    for index, name in enumerate(grid.header):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=index > 0)
    for row in grid.rows:
        table.add_row(*map(Text, row))  # Text: a tag value in square brackets isn't markup
    return table


def show(grid: Grid) -> None:
    """Print to stdout, boxed where that is a terminal, else tab-separated."""
    if not sys.stdout.isatty():
        sys.stdout.write(to_text(grid))
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    console.print(to_table(grid) if grid.rows else escape(grid.title))
    for line in grid.lines:
        console.print(line, markup=False, highlight=False, overflow="ellipsis" if line.startswith("  ") else "fold")
