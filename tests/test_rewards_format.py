"""The response's form: what render writes, parse reads; what anything else says, tag_format gives nothing for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.core import Example
from rewards.formats import tag_format
from rewards.response import TAGS, Response, parse, render
from tests.timing import assert_within

EXAMPLE = Example(id="e", messages=({"role": "user", "content": "when?"},), answers=("none",))
GOLD = "<reasoning>2+2=4</reasoning><answer>4</answer>"

# Pieces that a confused model puts together; plain random text would hardly ever hold a whole tag.
PIECES = st.one_of(
    st.sampled_from(TAGS), st.sampled_from(["<", ">", "/", "answer", "\n", " ", "none"]), st.text(max_size=5)
)
CONFUSED = st.lists(PIECES, max_size=12).map("".join)


def test_gold() -> None:
    assert parse(GOLD) == Response(reasoning="2+2=4", answer="4")
    assert tag_format(GOLD, EXAMPLE) == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        "<reasoning></reasoning><answer>4</answer>",
        "\n<reasoning>\n2+2=4\n</reasoning>\n\n<answer>\n4\n</answer>\n",
        "<reasoning>a < b, c > d, </b></reasoning><answer>4</answer>",
    ],
)
def test_white_space_and_stray_angles_do_no_harm(completion: str) -> None:
    assert tag_format(completion, EXAMPLE) == 1.0
    assert parse(completion).answer == "4"


@pytest.mark.parametrize(
    ("completion", "problem"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("4", "missing_tag"),
        ("<answer>4</answer>", "missing_tag"),
        ("<reasoning>2+2=4</reasoning>4", "missing_tag"),
        ("<reasoning>2+2=4</reasoning><answer>4", "missing_tag"),
        ("<reasoning>2+2=4<answer>4</answer>", "missing_tag"),
        ("<Reasoning>2+2=4</Reasoning><Answer>4</Answer>", "missing_tag"),
        ("< reasoning>2+2=4</reasoning><answer>4</answer>", "missing_tag"),
        ("<think>2+2=4</think><answer>4</answer>", "missing_tag"),
        (GOLD + GOLD, "repeated_tag"),
        (GOLD + "<answer>5</answer>", "repeated_tag"),
        (GOLD + "</answer>", "repeated_tag"),
        ("<reasoning><answer>5</answer></reasoning><answer>4</answer>", "repeated_tag"),
        ("<reasoning><reasoning>2</reasoning></reasoning><answer>4</answer>", "repeated_tag"),
        ("<reasoning>2</reasoning><answer><answer>4</answer></answer>", "repeated_tag"),
        ("<answer>4</answer><reasoning>2+2=4</reasoning>", "wrong_order"),
        ("<reasoning>2+2=4<answer>4</answer></reasoning>", "wrong_order"),
        ("<reasoning>2+2=4<answer></reasoning>4</answer>", "wrong_order"),
        ("</reasoning>2+2=4<reasoning><answer>4</answer>", "wrong_order"),
        ("</answer><reasoning>2+2=4</reasoning><answer>4", "wrong_order"),
        ("Sure! " + GOLD, "text_outside"),
        (GOLD + " I hope this helps.", "text_outside"),
        ("<reasoning>2+2=4</reasoning> so <answer>4</answer>", "text_outside"),
        ("<reasoning>2+2=4</reasoning><answer></answer>", "empty_answer"),
        ("<reasoning>2+2=4</reasoning><answer> \n</answer>", "empty_answer"),
    ],
)
def test_broken_form(completion: str, problem: str) -> None:
    assert parse(completion) == Response(problem=problem)  # type: ignore[arg-type]
    assert tag_format(completion, EXAMPLE) == 0.0


@given(st.one_of(st.text(), CONFUSED))
@settings(deadline=None)
def test_any_text_is_scored(completion: str) -> None:
    assert tag_format(completion, EXAMPLE) in (0.0, 1.0)


@given(CONFUSED)
@settings(deadline=None)
def test_what_passes_is_what_render_writes(completion: str) -> None:
    response = parse(completion)
    if response.problem is None:
        assert parse(render(response.reasoning, response.answer)) == response


@given(st.text(), st.text().filter(lambda text: text.strip() != ""))
@settings(deadline=None)
def test_render_then_parse(reasoning: str, answer: str) -> None:
    if not any(tag in reasoning or tag in answer for tag in TAGS):
        assert parse(render(reasoning, answer)) == Response(reasoning=reasoning.strip(), answer=answer.strip())


def test_no_reasoning_leaves_an_empty_block() -> None:
    assert render(None, "4") == render("", "4") == "<reasoning></reasoning><answer>4</answer>"


@pytest.mark.parametrize("unit", ["<reasoning>", "</answer>", "<", "<reasoning", " ", "x", "".join(TAGS)])
def test_parsing_is_linear(unit: str) -> None:
    noise = unit * (1_000_000 // len(unit))
    completions = (noise, render(noise, "4"), render("2+2=4", noise))
    assert_within(1, lambda: [parse(completion) for completion in completions])
