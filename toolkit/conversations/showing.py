"""An Inspection for the terminal and as one HTML page."""

from __future__ import annotations

from toolkit.conversations.inspecting import Inspection
from toolkit.conversations.report import summary_lines
from toolkit.conversations.work import bucket


def histogram(lengths: dict[str, int], max_length: int, width: int = 40, rows: int = 12) -> list[str]:
    """Sequence lengths in tokens, a line each: the upper end of a range, a bar, a count.

    The last line is of all that are longer than max_length, as lengths are counted (`bucket`): one long row leaves the
    others their ranges.
    """
    if not lengths:
        return []
    limit = bucket(max_length)
    fitting = {int(length): n for length, n in lengths.items() if int(length) <= limit}
    step = -(-max(fitting, default=1) // rows)
    bins = [0] * rows
    for length, n in fitting.items():
        bins[min(rows - 1, (length - 1) // step)] += n
    counts = {f"{step * (i + 1)}": n for i, n in enumerate(bins)}
    counts[f"over {limit}"] = sum(lengths.values()) - sum(bins)
    most = max(counts.values())
    return [f"  {name:>9} {'█' * -(-n * width // most)} {n}" for name, n in counts.items() if n]


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
        for line in histogram(found.report["lengths"], found.max_length):
            console.print(line, markup=False)
    for title, tokens in found.samples:
        console.print(f"\n{title} ({len(tokens)} tokens, {sum(token.supervised for token in tokens)} supervised)")
        text = Text()
        for token in tokens:
            text.append(token.text, "bold green" if token.supervised else "dim")
        console.print(text)
    for note in found.notes:
        console.print(f"note: {note}", markup=False)


def html_page(found: Inspection) -> str:
    """A page that needs nothing else: counts, lengths, and the tokens with the supervised ones marked."""
    from toolkit.page.render import render

    return render(
        "inspect.html.jinja",
        title=str(found.report["source"]),
        found=found,
        summary="\n".join(summary_lines(found.report)),
        lengths="\n".join(histogram(found.report["lengths"], found.max_length)) if found.template else "",
    )
