"""The plots of docs/benchmarks.md: bars of the figures that its tables have, so that the two can't differ."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from toolkit.page.svg import Scale, number, text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#5a6270}.title{font-weight:600}.ours{fill:#1f6fb5}.others{fill:#9aa5b1}"
    "@media(prefers-color-scheme:dark){text{fill:#a3acba}.others{fill:#66707c}}"
)
WIDTH, LABELS, ROW, TOP = 700, 290, 24, 34
LONGEST = WIDTH - LABELS - 80  # a bar; its figure stands behind it


@dataclass(frozen=True, slots=True)
class Bars:
    """A plot. section: the heading above the table; table: which one below it, from 0; column: the figures' heading.
    rows: what a row's first cell begins with, and its label, which begins with "ours" where it is.
    """

    title: str
    section: str
    table: int
    column: str
    rows: tuple[tuple[str, str], ...]


BARS = {
    "benchmark_sft": Bars(
        "SFT of all weights, H100: tokens a second",
        "SFT, all weights",
        0,
        "tokens/s",
        (
            ("ours: packed", "ours"),
            ("TRL tuned by hand", "TRL tuned by hand"),
            ("TRL, batch 64", "TRL, batch 64, no checkpointing"),
            ("TRL as it comes: batch 8", "TRL as it comes"),
        ),
    ),
    "benchmark_sft_lora": Bars(
        "SFT of an adapter of rank 64, H200: tokens a second",
        "SFT, all weights",
        1,
        "tokens/s",
        (
            ("ours, LoRA", "ours"),
            ("ours on the backend unsloth", "ours on the backend unsloth"),
            ("TRL tuned by hand", "TRL tuned by hand"),
            ("unsloth, two passes", "unsloth, two passes of 128"),
            ("unsloth as it comes", "unsloth as it comes"),
        ),
    ),
    "benchmark_grpo": Bars(
        "GRPO with vLLM in the process, H200: completions a second",
        "GRPO with vLLM in the trainer's process",
        0,
        "completions/s",
        (
            ("ours, the brief set alone on an H200", "ours, 1,024 completions a step"),
            ("TRL, vLLM in the process, the same call", "TRL, 128"),
            ("unsloth as it comes, vLLM", "unsloth, 128, beside other jobs"),
        ),
    ),
    "benchmark_answers": Bars(
        "Evaluation, H200: requests a second",
        "Evaluation",
        1,
        "requests/s",
        (
            ("vLLM as it comes", "vLLM as it comes"),
            ("the same settings with `toolkit eval`", "ours, four engines on the card, scored"),
            ("eight engines of 1,536 seats", "ours, eight engines on the card"),
        ),
    ),
    "benchmark_exact": Bars(
        "Held-out questions answered exactly, %",
        "The deep datetime task",
        0,
        "exact",
        (
            ("SmolLM2-135M, version 9, seed 1", "ours: SmolLM2-135M, version 9"),
            ("SmolLM2-135M, version 8, seed 1", "ours: SmolLM2-135M, version 8"),
            ("SmolLM2-135M, 400,000 examples once (version 6), seed 1", "ours: SmolLM2-135M, version 6"),
            ("Gemma-3-270M, 400,000 examples once, version 6", "ours: Gemma-3-270M, version 6"),
            ("rationales of version 3", "ours: SmolLM2-135M, version 3"),
            ("SmolLM2-135M, 400,000 examples once, the rationales before", "ours: SmolLM2-135M, version 2"),
            ("SmolLM2-135M, the answer without its rationale", "ours, without reasoning"),
            ("timesense", "timesense, rules"),
            ("Duckling", "Duckling, rules"),
        ),
    ),
}


def bar_plots() -> dict[str, str]:
    """The SVG of each plot, by its name."""
    page = PAGE.read_text(encoding="utf-8")
    return {name: _draw(bars, figures(page, bars)) for name, bars in BARS.items()}


def figures(page: str, bars: Bars) -> list[float]:
    """The first number of each row's cell. Raises ValueError when the page has no such section, table, column or row,
    or several of them.
    """
    (below,) = re.findall(rf"^#+ {re.escape(bars.section)}$\n(.*?)(?=^#|\Z)", page, re.M | re.S)
    table = re.findall(r"(?:^\|.*\|$\n?)+", below, re.M)[bars.table]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    column = head.index(bars.column)
    found = []
    for start, _ in bars.rows:
        (row,) = [row for row in rows if row[0].startswith(start)]
        found.append(float(re.findall(r"\d+(?:\.\d+)?", row[column].replace(",", ""))[0]))
    return found


def _draw(bars: Bars, values: list[float]) -> str:
    """A file of its own: a row a bar, its label before it and its figure behind."""
    length = Scale(0, max(values), 0, LONGEST)
    parts = [Markup('<text class="title" x="0" y="18">{}</text>').format(bars.title)]
    for place, ((_, label), value) in enumerate(zip(bars.rows, values, strict=True)):
        top = TOP + ROW * place
        kind = "ours" if label.startswith("ours") else "others"
        bar = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>')
        parts.append(text(LABELS - 10, top + 13, label, "end"))
        parts.append(bar.format(kind, LABELS, top, max(1.0, length(value)), ROW - 6))
        parts.append(text(LABELS + length(value) + 8, top + 13, _figure(value), "start"))
    height = TOP + ROW * len(values)
    head = Markup(
        '<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}" '
        'xmlns="http://www.w3.org/2000/svg"><style>{3}</style>'
    ).format(WIDTH, height, bars.title, Markup(STYLE))
    return f"{head}{Markup('').join(parts)}</svg>\n"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else number(value)
