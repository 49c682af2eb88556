"""The table of the data card: `python -m tasks.datetime_extraction.card` prints it, README.md carries it."""

from __future__ import annotations

from collections import Counter

from rewards.core import Example
from tasks.datetime_extraction import TASK
from tasks.datetime_extraction.meaning import LANGS

EXAMPLES = 20_000


def _shortest(examples: list[Example]) -> Example:
    """A typical one: plain spelling, nothing around it, and short."""

    def cost(example: Example) -> tuple[bool, bool, int]:
        return example.tags["noise"] != "clean", example.tags["around"] != "none", len(example.context["text"]) // 8

    return min(examples, key=cost)


def _cell(example: Example) -> str:
    now = f" {example.context['now']}" if example.context["now"] else ""
    answers = " or ".join(answer.removesuffix(":00" + example.context["offset"]) for answer in example.answers)
    return f"{example.context['text']} *({example.context['today']}{now})* → {answers}".replace("|", "\\|")


def phenomena_table(n: int = EXAMPLES) -> str:
    """One row a phenomenon: an example in each language, and how many of n training examples have it."""
    by_kind: dict[str, dict[str, list[Example]]] = {}
    counts: Counter[str] = Counter()
    for example in TASK.examples("train", n, 0):
        kind = example.tags["phenomenon"]
        counts[kind] += 1
        if example.tags["policy"] == "unstated":
            by_kind.setdefault(kind, {}).setdefault(example.tags["lang"], []).append(example)
    lines = ["| phenomenon | Russian | English | of 20,000 |", "|---|---|---|---:|"]
    for kind in sorted(by_kind):
        cells = [_cell(_shortest(by_kind[kind][lang])) if lang in by_kind[kind] else "–" for lang in LANGS]
        lines.append(f"| `{kind}` | {cells[0]} | {cells[1]} | {counts[kind]} |")
    return "\n".join(lines)


def shares(n: int = EXAMPLES) -> str:
    """The shares of the other tags, one line each."""
    examples = list(TASK.examples("train", n, 0))
    lines = []
    for tag in ("answer", "clock", "talk", "around", "noise", "prompt"):
        found = Counter(example.tags[tag] for example in examples)
        parts = ", ".join(f"{value} {100 * count / n:.1f}" for value, count in found.most_common())
        lines.append(f"- **{tag}** (% of training): {parts}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(phenomena_table())
    print()
    print(shares())
