"""The lint finds metrics that take what is nearly the answer, and questions whose copy is paid; sound ones stay so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from rewards.core import Example, Reward
from rewards.mathematics import math_equal
from rewards.numbers import number, number_of
from rewards.structured import json_exact, object_of
from rewards.text import answer_of, choice, exact_text, normalized_text
from tasks.base import Split, Task
from tasks.cheats import CUT
from tasks.lint import LintReport, lint_rewards

CITIES = ["Москва", "Томск", "Казань", "Пермь", "Самара", "Омск"] * 3
NUMBERS = [str(100 + 7 * i) for i in range(18)]
OBJECTS = [json.dumps({"item": city, "quantity": i}, ensure_ascii=False) for i, city in enumerate(CITIES)]
UNITS = [f"{i} m" for i in range(2, 12)] + ["12 kg", "(1, 2)", "xy^2", "ab", "$5x$", r"\frac{1}{2}", "50%", "1/2"]


def lint(
    metric: Reward, golds: Sequence[str | tuple[str, ...]], prompts: Sequence[str] = ("question {}",)
) -> LintReport:
    def examples(split: Split, n: int, seed: int) -> Iterator[Example]:
        for i, gold in enumerate(golds[:n]):
            content = prompts[i % len(prompts)].format(i)
            answers = gold if isinstance(gold, tuple) else (gold,)
            yield Example(f"{split}-{i}", ({"role": "user", "content": content},), answers, group=str(i))

    return lint_rewards(Task("near", "1", examples, {"metric": (metric, 1.0)}, metric), len(golds), timed=False)


def of_answer(right: Callable[[str, str], bool]) -> Reward:
    def metric(completion: str, example: Example) -> float:
        answer = answer_of(completion)
        return float(answer is not None and any(right(answer, gold) for gold in example.answers))

    return metric


def whole_part(answer: str, gold: str) -> bool:
    ours, theirs = number_of(answer), number_of(gold)
    return ours is not None and theirs is not None and int(ours) == int(theirs)


def the_golds_fields(answer: str, gold: str) -> bool:
    ours, theirs = object_of(answer), object_of(gold) or {}
    return ours is not None and all(ours.get(key) == value for key, value in theirs.items())


@pytest.mark.parametrize(
    ("right", "golds", "by"),
    [
        (lambda answer, gold: answer in gold, CITIES, "its first character"),
        (lambda answer, gold: answer in gold, NUMBERS, "its first character"),
        (lambda answer, gold: len(answer) > 2 and gold.startswith(answer), CITIES, "all but its last character"),
        (lambda answer, gold: len(answer) > 1 and gold.startswith(answer), NUMBERS, "all but its last character"),
        (lambda answer, gold: sorted(answer) == sorted(gold), CITIES, "two letters swapped"),
        (whole_part, NUMBERS, "half more than the number"),
        (the_golds_fields, OBJECTS, "a field too many"),
    ],
)
def test_a_metric_that_takes_what_is_near(right: Callable[[str, str], bool], golds: list[str], by: str) -> None:
    rules = {hack.by: hack.rule for hack in lint(of_answer(right), golds).hacks}
    meant = "; if it is right too, name it among the examples' answers" if by in CUT else ""
    assert rules.get(by) == f"the metric takes the wrong answer in 18 of 18 examples{meant}", rules


def test_a_letter_that_the_task_names_as_an_answer_is_no_cut() -> None:
    yes_or_no = of_answer(lambda answer, gold: answer in (gold, gold[:1]))
    assert {hack.by for hack in lint(yes_or_no, ["yes", "no"] * 9).hacks} == set(CUT)
    assert lint(yes_or_no, [("yes", "y"), ("no", "n")] * 9).findings == []


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("golds", [["2", "3", "5", "7", "12"], ["-5", "-4", "5", "8", "9.7"]])
def test_a_tolerance_relative_to_the_answer_is_no_hack(share: float, golds: list[str]) -> None:
    def near(answer: str, gold: str) -> bool:
        number = number_of(answer)
        return number is not None and abs(float(number) - float(gold)) <= share * abs(float(number))

    found = [hack.by for hack in lint(of_answer(near), golds).hacks]
    assert not [by for by in found if by.startswith("half ")], found


@pytest.mark.parametrize(
    ("metric", "golds"),
    [
        (exact_text, CITIES),
        (normalized_text, [*CITIES, "5!", "x²", "U.S.", "ok", "ab"]),
        (choice, ["A", "B", "C", "D"] * 5),
        (partial(choice, options=("да", "нет", "не знаю")), ["да", "нет", "не знаю"] * 6),
        (number, [*NUMBERS, "0.5", "-10", "1e3"]),
        (partial(number, tolerance=1.0), NUMBERS),  # allowed by the task, on both sides
        (partial(number, tolerance=0.5), NUMBERS),
        (partial(number, relative=0.1), [str(7 * 2**i) for i in range(18)]),
        (json_exact, OBJECTS),
        (partial(json_exact, fields=["quantity"]), OBJECTS),
        (math_equal, NUMBERS),
        (math_equal, UNITS),
    ],
)
def test_sound_metrics_have_no_findings(metric: Reward, golds: list[str]) -> None:
    assert lint(metric, golds).findings == []


@pytest.mark.parametrize(
    ("prompts", "golds"),
    [
        (["Упростите дробь 30/63, ответ № {}"], ["10/21"]),
        ([r"Simplify $\frac{{6}}{{84}}$ ({})"], ["1/14"]),
        ([r"Упростите \sqrt{{12}} ({})"], [r"2\sqrt{3}"]),
        (["Write 2 1/2 as a decimal ({})"], ["2.5"]),
        (["What is 7/5, then 150/100 in lowest terms ({})?"], ["3/2"]),
    ],
)
def test_copying_a_fraction_or_a_root_is_named(prompts: list[str], golds: list[str]) -> None:
    report = lint(math_equal, [*golds * 10, "7", "12"] * 2, prompts)
    rules = {hack.by: hack.rule for hack in report.hacks}
    assert "the metric gives it full marks in" in rules.get("a fraction or root copied from the question", ""), rules


def test_a_fraction_that_is_the_answer_as_it_stands_is_no_copy() -> None:
    prompts = ["Which is larger, 1/2 or 1/3 ({})?", r"Which is larger, \frac{{1}}{{2}} or \frac{{1}}{{3}} ({})?"]
    found = lint(math_equal, ["1/2", r"\frac{1}{2}", "$1/2$", r"$\dfrac{1}{2}$"] * 4, prompts)
    assert not [hack for hack in found.hacks if hack.by.startswith("a fraction")]
    assert lint(exact_text, ["10/21", *CITIES], ["Simplify 30/63, by 01/02/2025"]).findings == []
