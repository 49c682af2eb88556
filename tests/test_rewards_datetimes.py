"""exact_datetime gives 1.0 for the one spelling that the prompt asks for, and nothing to whatever comes near."""

from __future__ import annotations

import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.core import Example
from rewards.datetimes import exact_datetime, moment
from rewards.response import TAGS, render
from tasks.base import Task
from tasks.datetime_extraction import PLAIN, TASK
from tests.timing import assert_within

GOLD = "2025-01-19T12:00:00+03:00"


def example(*answers: str) -> Example:
    return Example(id="e", messages=({"role": "user", "content": "Послезавтра в 12"},), answers=answers or (GOLD,))


def score(answer: str, *accepted: str) -> float:
    return exact_datetime(render("17+2=19 Jan 2025; 12:00", answer), example(*accepted))


def test_gold() -> None:
    assert score(GOLD) == 1.0
    assert score(f"\n {GOLD}\n") == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "2025-01-19T12:00:01+03:00",
        "2025-01-20T12:00:00+03:00",
        "2025-01-19T09:00:00Z",  # the same instant: who asked for +03:00 was not answered
        "2025-01-19T09:00:00+00:00",
        "2025-01-19T13:00:00+04:00",
        "2025-01-19T12:00:00",
        "2025-01-19T12:00+03:00",
        "2025-01-19T12:00:00.000+03:00",
        "2025-01-19T12:00:00+0300",
        "2025-01-19T12:00:00+03",
        "2025-01-19",
        "2025-W03-7T12:00:00+03:00",
        "20250119T120000+0300",
        "2025-1-19T12:00:00+03:00",
        "19.01.2025 12:00",
        "2025-01-19t12:00:00+03:00",
        "2025-01-19 12:00:00+03:00",
        "2025-01-19T12:NN:00+03:00",
        "2025-01-19T12:NN:SS+03:00",
        "YYYY-MM-DDTHH:NN:SS+03:00",
        f"{GOLD}.",
        f"{GOLD} — послезавтра в полдень",
        f"The date is {GOLD}",
        f'"{GOLD}"',
        f"{GOLD}\n{GOLD}",
        f"{GOLD} or none",
        f"{GOLD} | none",
        "٢٠٢٥-٠١-١٩T١٢:٠٠:٠٠+٠٣:٠٠",  # \d would match these
        "2025-01-19Т12:00:00+03:00",  # a Cyrillic Т
        "2025−01−19T12:00:00+03:00",  # minus signs
        "2025-01-19T12:00:00\u200b+03:00",
        "none",
        "None",
        "NONE",
        "null",
        "\x00",
        "\ud800",
    ],
)
def test_a_near_miss_scores_nothing(answer: str) -> None:
    assert score(answer) == 0.0


@pytest.mark.parametrize(
    "impossible",
    [
        "2025-01-19T24:00:00+03:00",
        "2025-01-19T25:61:00+03:00",
        "2025-01-19T12:60:00+03:00",
        "2025-01-19T12:00:60+03:00",
        "2025-02-31T12:00:00+03:00",
        "2025-02-29T12:00:00+03:00",
        "2025-00-19T12:00:00+03:00",
        "2025-13-19T12:00:00+03:00",
        "2025-01-00T12:00:00+03:00",
        "2025-01-32T12:00:00+03:00",
        "0000-01-19T12:00:00+03:00",
        "2025-01-19T12:00:00+99:99",
        "2025-01-19T12:00:00+24:00",
        "2025-01-19T12:00:00+02:60",
    ],
)
def test_what_no_calendar_has_is_no_moment(impossible: str) -> None:
    assert moment(impossible) is None
    assert score(impossible) == 0.0
    assert score(impossible, impossible) == 0.0  # not even against itself, should a data set hold it


@pytest.mark.parametrize("extreme", ["0001-01-01T00:00:00+03:00", "9999-12-31T23:59:59-23:59", "2024-02-29T00:00:00Z"])
def test_the_ends_of_the_calendar_are_moments(extreme: str) -> None:
    assert score(extreme, extreme) == 1.0
    assert score(extreme) == 0.0


def test_utc_has_two_spellings() -> None:
    assert score("2025-01-19T12:00:00Z", "2025-01-19T12:00:00+00:00") == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        "",
        " \n",
        GOLD,
        f"<answer>{GOLD}</answer>",
        f"<reasoning>{GOLD}</reasoning>",
        render(GOLD, ""),
        render(GOLD, "2025-01-20T12:00:00+03:00"),
        render(GOLD, "see above"),
        render(f"<answer>{GOLD}</answer>", GOLD),
        render("", GOLD) + f"<answer>{GOLD}</answer>",
        render("", GOLD) * 2,
        f"<answer>{GOLD}</answer><reasoning></reasoning>",
        "Answer: " + render("", GOLD),
        render("", GOLD) + "!",
    ],
)
def test_the_right_date_in_a_broken_form_scores_nothing(completion: str) -> None:
    assert exact_datetime(completion, example()) == 0.0


@pytest.mark.parametrize("task", [TASK, PLAIN], ids=lambda task: task.name)
def test_an_echo_of_the_prompt_scores_nothing(task: Task) -> None:
    for each in task.examples("train", 200, 0):
        turns = [turn["content"] for turn in each.messages]
        for echo in (
            "\n".join(turns),
            turns[-1],
            render(turns[-1], turns[-1]),
            render("", turns[0].split("<answer>")[0]),
        ):
            assert exact_datetime(echo, each) == 0.0


def test_gold_none_takes_the_one_word() -> None:
    assert score("none", "none") == 1.0
    assert score(" none\n", "none") == 1.0
    for answer in (
        "None",
        "NONE",
        "none.",
        "null",
        "nil",
        "",
        "no date",
        "none none",
        "nоne",
        GOLD,
    ):  # an о of Cyrillic
        assert score(answer, "none") == 0.0


def test_any_of_several_golds_is_accepted() -> None:
    other = "2025-01-20T00:00:00+03:00"
    assert score(GOLD, GOLD, other) == score(other, GOLD, other) == 1.0
    assert score("none", GOLD, "none") == 1.0
    assert score("2025-01-21T00:00:00+03:00", GOLD, other) == 0.0
    assert score(f"{GOLD} {other}", GOLD, other) == 0.0


def test_a_gold_that_is_no_moment_matches_nothing() -> None:
    assert score("tomorrow", "tomorrow") == 0.0


@pytest.mark.parametrize("size", [10_000, 1_000_000])
@pytest.mark.parametrize("unit", ["x", "<answer>", GOLD, "0", "none", "-"])
def test_noise_is_scored_in_time(unit: str, size: int) -> None:
    noise = unit * (size // len(unit))
    completions = (noise, render("", noise), render(noise, GOLD) + noise, render("", GOLD + noise.strip() + "x"))
    assert_within(2, lambda: [exact_datetime(completion, example()) for completion in completions])
    assert {exact_datetime(completion, example()) for completion in completions} == {0.0}


def test_long_reasoning_does_no_harm() -> None:
    assert exact_datetime(render("17+2=19; " * 100_000, GOLD), example()) == 1.0


def test_no_answer_is_kept_for_being_long() -> None:
    """A cache of whole answers would hold gigabytes by the end of a run whose model rambles."""

    class Text(str):  # str itself can't be watched
        pass

    rambling = Text("2025 " * 1000)
    watched = weakref.ref(rambling)
    assert moment(rambling) is None
    del rambling
    assert watched() is None


@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from([*TAGS, GOLD, "none", "2025-01-19", "T12", ":00", "+03:00", " ", "\n"]), max_size=9
        ).map("".join),
        st.builds(render, st.text(max_size=9), st.text(max_size=30)),
        st.builds(
            render,
            st.just(""),
            st.from_regex(
                r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[+-][0-9]{2}:[0-9]{2}", fullmatch=True
            ),
        ),
    ),
    st.sampled_from([(GOLD,), ("none",), (GOLD, "none"), ("2025-02-31T12:00:00+03:00",)]),
)
@settings(deadline=None, max_examples=300)
def test_any_text_is_scored(completion: str, answers: tuple[str, ...]) -> None:
    assert exact_datetime(completion, example(*answers)) in (0.0, 1.0)


@given(st.datetimes().map(lambda when: when.replace(microsecond=0)), st.integers(-23 * 60, 23 * 60))
@settings(deadline=None)
def test_every_moment_equals_itself_and_no_other(when: object, minutes: int) -> None:
    sign, (hours, rest) = "+-"[minutes < 0], divmod(abs(minutes), 60)
    text = f"{str(when).replace(' ', 'T')}{sign}{hours:02}:{rest:02}"
    assert score(text, text) == 1.0
    assert score(text, f"{text[:19]}{sign}{hours:02}:{(rest + 1) % 60:02}") == 0.0
