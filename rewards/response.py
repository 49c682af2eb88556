"""The one place that knows how a reasoning response is written and read back.

A response is `<reasoning>…</reasoning><answer>…</answer>`: whole, once, in this order, with nothing but white space
around and between. Prompts, training targets, rewards and the metric all go through `render` and `parse`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

REASONING_OPEN, REASONING_CLOSE = "<reasoning>", "</reasoning>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
TAGS = (REASONING_OPEN, REASONING_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

Problem = Literal["empty", "missing_tag", "repeated_tag", "wrong_order", "text_outside", "empty_answer"]


@dataclass(frozen=True, slots=True)
class Response:
    """A parsed response. `problem` is None exactly when the format holds; only then are the two texts filled."""

    reasoning: str = ""
    answer: str = ""
    problem: Problem | None = None


def render(reasoning: str | None, answer: str) -> str:
    """The text that a model is trained to give. Without reasoning the block stays, empty: one format for all arms."""
    return f"{REASONING_OPEN}{reasoning or ''}{REASONING_CLOSE}{ANSWER_OPEN}{answer}{ANSWER_CLOSE}"


def parse(completion: str) -> Response:
    """Read a completion. Linear in its length; never raises.

    Tags are counted as plain text, not matched by a regular expression, so a nested, repeated or unclosed tag can't
    slip through a pattern.
    """
    text = completion.strip()
    if not text:
        return Response(problem="empty")
    counts = [text.count(tag) for tag in TAGS]
    if 0 in counts:
        return Response(problem="missing_tag")
    if counts != [1, 1, 1, 1]:
        return Response(problem="repeated_tag")
    before, rest = text.split(REASONING_OPEN)
    reasoning, closed, rest = rest.partition(REASONING_CLOSE)
    between, opened, rest = rest.partition(ANSWER_OPEN)
    answer, ended, after = rest.partition(ANSWER_CLOSE)
    if not (closed and opened and ended):
        return Response(problem="wrong_order")
    if before.strip() or between.strip() or after.strip():
        return Response(problem="text_outside")
    if not answer.strip():
        return Response(problem="empty_answer")
    return Response(reasoning=reasoning.strip(), answer=answer.strip())


def says_nothing(completion: str) -> bool:
    """Whether nothing is said outside the reasoning: no answer was tried, in whatever form. Linear; never raises."""
    before, *blocks = completion.split(REASONING_OPEN)
    outside = before + "".join(block.partition(REASONING_CLOSE)[2] for block in blocks)
    for tag in TAGS:
        outside = outside.replace(tag, "")
    return not outside.strip()
