"""An Inspection for the terminal and as one HTML page."""

from __future__ import annotations

from html import escape

from toolkit.conversations.inspecting import Inspection
from toolkit.conversations.report import summary_lines


def histogram(lengths: dict[str, int], width: int = 40, rows: int = 12) -> list[str]:
    """Sequence lengths in tokens, a line each: the upper end of a range, a bar, a count."""
    if not lengths:
        return []
    longest = max(map(int, lengths))
    step = -(-longest // rows)
    bins = [0] * rows
    for length, n in lengths.items():
        bins[min(rows - 1, (int(length) - 1) // step)] += n
    most = max(bins)
    return [f"  {step * (i + 1):>7} {'█' * -(-n * width // most)} {n}" for i, n in enumerate(bins) if n]


def show_inspection(found: Inspection) -> None:
    """Print it; supervised tokens are green, the others dim."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for line in summary_lines(found.report):
        console.print(line, markup=False)
    if found.template:
        console.print(f"template: {found.template}", markup=False)
        console.print("length in tokens, up to:")
        for line in histogram(found.report["lengths"]):
            console.print(line, markup=False)
    for title, tokens in found.samples:
        console.print(f"\n{title} ({len(tokens)} tokens, {sum(token.supervised for token in tokens)} supervised)")
        text = Text()
        for token in tokens:
            text.append(token.text, "bold green" if token.supervised else "dim")
        console.print(text)
    for note in found.notes:
        console.print(f"note: {note}", markup=False)


_PAGE = """<!doctype html>
<meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f6; padding: .8rem; border-radius: 6px }}
.t {{ border-right: 1px solid #ccc }} .s {{ background: #b7ebc0 }} .problem {{ color: #b00020 }}
</style>
<h1>{title}</h1>
{body}
"""


def html_page(found: Inspection) -> str:
    """A page that needs nothing else: counts, lengths, and the tokens with the supervised ones on green."""
    parts = [f"<pre>{escape(chr(10).join(summary_lines(found.report)))}</pre>"]
    parts += [f'<p class="problem">{escape(problem)}</p>' for problem in found.problems]
    parts += [f"<p>{escape(note)}</p>" for note in found.notes]
    if found.template:
        parts.append(f"<h2>Template</h2><p>{escape(found.template)}</p><h2>Length in tokens, up to</h2>")
        parts.append(f"<pre>{escape(chr(10).join(histogram(found.report['lengths'])))}</pre>")
    for title, tokens in found.samples:
        spans = (
            f'<span class="t{" s" if token.supervised else ""}" title="{token.id}">{escape(token.text)}</span>'
            for token in tokens
        )
        parts.append(f"<h2>{escape(title)}</h2><pre>{''.join(spans)}</pre>")
    return _PAGE.format(title=escape(str(found.report["source"])), body="\n".join(parts))
