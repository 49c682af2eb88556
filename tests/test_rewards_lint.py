"""Sound rewards have no findings; each way of making rewards that pay for nothing is named, with what earns."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rewards.core import Example, Reward, UserError
from rewards.formats import tag_format
from rewards.limits import OutOfTime, time_limit
from rewards.mathematics import math_equal
from rewards.response import parse, render
from tasks import pace, timing
from tasks.base import SPLITS, Split, Task
from tasks.cheats import cheats, differs, guesses, wrong_answers
from tasks.check import inspect_task
from tasks.declared import declared_task
from tasks.lint import LintReport, lint_rewards
from tasks.registry import BUILTIN, load_task
from tasks.timing import seconds_of
from toolkit.cli import main


def exact(completion: str, example: Example) -> float:
    response = parse(completion)
    return float(response.problem is None and response.answer in example.answers)


def sums(split: Split, n: int, seed: int) -> Iterator[Example]:
    for i in range(n):
        a, b = SPLITS.index(split) + 1, 1000 * seed + 7 * i
        yield Example(f"{split}-{i}", ({"role": "user", "content": f"{a}+{b}?"},), (str(a + b),), f"{a} and {b}")


SOUND = Task("sums", "1", sums, {"form": (tag_format, 0.1), "exact": (exact, 1.0)}, exact)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the long texts, where a test isn't about time."""
    monkeypatch.setattr("tasks.lint.check_growth", lambda *arguments: None)


def lint(n: int = 20, **rewards: tuple[Reward, float]) -> LintReport:
    return lint_rewards(replace(SOUND, rewards=rewards), n)


def hacked_by(report: LintReport) -> set[str]:
    return {hack.by for hack in report.hacks}


@pytest.mark.parametrize("name", BUILTIN)
def test_the_built_in_rewards_cant_be_hacked(name: str) -> None:
    report = lint_rewards(load_task(name), n=40, seed=3)
    assert report.findings == []
    shares = {kind: earned.share for kind, earned in report.earned.items() if earned.share is not None}
    assert max(shares.values()) < 0.15, shares
    assert report.earned["the gold"].right == 1


def test_sound_rewards_and_what_everything_earns() -> None:
    report = lint_rewards(SOUND, 20)
    assert report.findings == []
    assert report.earned["an empty completion"].scores == {"metric": 0, "form": 0, "exact": 0}
    assert report.earned["nothing but the format"].share == pytest.approx(0.1 / 1.1)
    assert set(report.seconds) == {"metric", "form", "exact"}


def test_too_much_for_the_form_alone() -> None:
    report = lint(form=(tag_format, 0.5), exact=(exact, 1.0))
    assert {"nothing but the format", "'none', always", "another example's answer"} <= hacked_by(report)
    hack = next(each for each in report.hacks if each.by == "nothing but the format")
    assert (hack.completion, hack.total, hack.gold) == (render("", "x"), 0.5, 1.5)
    assert hack.share == pytest.approx(1 / 3)
    assert "by nothing but the format: without a solution it earns 33% of the gold's reward" in hack.line
    assert "gets 0.50 (form 1, exact 0), the gold 1.50" in hack.line
    assert (
        lint_rewards(
            replace(SOUND, rewards={"form": (tag_format, 0.5), "exact": (exact, 1.0)}), 20, max_share=0.4
        ).hacks
        == ()
    )


def contains(completion: str, example: Example) -> float:
    return float(any(answer in completion for answer in example.answers))


def any_number(completion: str, example: Example) -> float:
    return float(re.search(r"\d", parse(completion).answer) is not None)


def length(completion: str, example: Example) -> float:
    return min(1.0, len(completion) / 40)


def first_block(completion: str, example: Example) -> float:
    """The format check that everyone writes: a search, without anchors."""
    found = re.search(r"<answer>(.*?)</answer>", completion, re.DOTALL)
    return float(found is not None and found[1].strip() in example.answers)


@pytest.mark.parametrize(
    ("reward", "by"),
    [
        (contains, {"an answer in the reasoning only", "every answer in one block", "two answers in one block"}),
        (any_number, {"another example's answer", "twice the number and one", "'0', always"}),
        (length, {"a long reasoning and an empty phrase", "the prompt repeated as the reasoning"}),
        (first_block, {"two answer blocks", "the response given twice", "the answer block a hundred times"}),
        (lambda completion, example: 1.0, {"an empty completion", "white space", "bare tags"}),
    ],
)
def test_a_sloppy_reward_is_hacked_by(reward: Reward, by: set[str], quick: None) -> None:
    """The metric stays strict: it is the rewards that a policy climbs."""
    report = lint(sloppy=(reward, 1.0))
    assert by <= hacked_by(report)
    for hack in report.hacks:
        assert hack.rewards["sloppy"] == hack.total > 0.25


def test_a_sloppy_metric_is_named_as_such(quick: None) -> None:
    report = lint_rewards(replace(SOUND, metric=first_block), 20)
    rules = {hack.by: hack.rule for hack in report.hacks}
    assert rules["two answer blocks"] == "the metric gives it full marks in 20 of 20 examples"
    report = lint_rewards(replace(SOUND, metric=any_number), 20)
    rules = {hack.by: hack.rule for hack in report.hacks}
    assert rules["twice the number and one"] == "the metric takes the wrong answer in 20 of 20 examples"


def test_an_answer_that_is_nearly_always_right() -> None:
    def lopsided(split: Split, n: int, seed: int) -> Iterator[Example]:
        return (replace(each, answers=("yes" if i % 10 else "no",)) for i, each in enumerate(sums(split, n, seed)))

    report = lint_rewards(replace(SOUND, examples=lopsided), 20)
    assert [(hack.by, hack.rule) for hack in report.hacks] == [
        ("the most frequent answer, always", "it is right in 18 of 20 examples")
    ]


def test_two_choices_are_no_hack() -> None:
    def halves(split: Split, n: int, seed: int) -> Iterator[Example]:
        return (replace(each, answers=("yes" if i % 2 else "no",)) for i, each in enumerate(sums(split, n, seed)))

    assert lint_rewards(replace(SOUND, examples=halves), 20).findings == []


def slow(completion: str, example: Example) -> float:
    time.sleep(0.002)
    return exact(completion, example)


def quadratic(completion: str, example: Example) -> float:
    for place in range(0, len(completion), 4):
        completion.find("zz", place)
    return exact(completion, example)


def hangs(completion: str, example: Example) -> float:
    re.fullmatch(r"(\w+\s?)+\.", parse(completion).answer)
    return exact(completion, example)


def leaves(completion: str, example: Example) -> float:
    raise SystemExit(0)


def picky(completion: str, example: Example) -> float:
    completion.encode()  # a lone surrogate can't be
    return exact(completion, example)


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        (lambda completion, example: completion.index("<") * 0.0, "sloppy raised ValueError (substring not found; "),
        (picky, "sloppy raised UnicodeEncodeError"),
        (leaves, "sloppy raised SystemExit (0; "),
        (lambda completion, example: 1.5, "sloppy must give a number within [0, 1], got 1.5"),
        (lambda completion, example: float("nan"), "sloppy must give a number within [0, 1], got nan"),
        (lambda completion, example: None, "sloppy must give a number within [0, 1], got None"),
        (lambda completion, example: "1", "sloppy must give a number within [0, 1], got '1'"),
        (lambda completion, example: 0.5, "the gold must score 1.0 with sloppy, got 0.5"),
        (quadratic, "sloppy takes time that grows faster than the completion: one letter"),
    ],
)
def test_a_reward_that_breaks_its_contract(reward: Any, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONGEST_CALL", 30.0)  # so that a busy machine's pause is no finding
    report = lint(3, exact=(exact, 1.0), sloppy=(reward, 0.1))
    assert any(says in line.replace("train-0: ", "") for line in report.problems), report.problems


def test_a_slow_reward(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    monkeypatch.setattr(timing, "SLOW_CALL", 0.001)
    report = lint(1, exact=(exact, 1.0), sloppy=(slow, 0.1))
    assert any(re.search(r"sloppy takes \d+ ms a call", line) for line in report.problems), report.problems


def test_a_reward_that_never_comes_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONGEST_CALL", 0.1)
    started = time.perf_counter()
    report = lint(2, exact=(exact, 1.0), sloppy=(hangs, 0.1))
    assert any("sloppy takes over 0.1 s" in line for line in report.problems), report.problems
    assert time.perf_counter() - started < 15


def test_a_reward_with_a_memory() -> None:
    calls = count()
    dice = lint(5, exact=(exact, 1.0), dice=(lambda completion, example: float(next(calls) % 2), 0.1))
    assert any("dice gave two scores to one completion" in line for line in dice.problems)
    seen: set[str] = set()

    def novelty(completion: str, example: Example) -> float:
        new = completion not in seen or completion in recent
        recent[:] = [completion]
        seen.add(completion)
        return float(new)

    recent: list[str] = []
    memory = lint(5, exact=(exact, 1.0), novelty=(novelty, 0.1))
    assert any("novelty depends on what was scored before" in line for line in memory.problems), memory.problems


def test_what_cant_be_linted() -> None:
    with pytest.raises(UserError, match="has no rewards"):
        lint()
    with pytest.raises(UserError, match="no examples in split 'train'"):
        lint_rewards(replace(SOUND, examples=lambda split, n, seed: iter(())))


def test_a_time_limit_ends_what_catches_everything_and_leaves_no_alarm() -> None:
    def stubborn() -> None:
        end = time.perf_counter() + 5
        while time.perf_counter() < end:
            with suppress(Exception):
                time.sleep(0.01)

    with pytest.raises(OutOfTime), time_limit(0.05):
        stubborn()
    assert seconds_of(stubborn, 0.05) is None
    time.sleep(0.06)
    assert seconds_of(lambda: 1 / 0) == 0.0


def test_a_limit_on_computing_doesnt_count_waiting() -> None:
    def compute() -> None:
        while True:
            sum(range(1000))

    with time_limit(0.1, time.thread_time):
        time.sleep(0.3)
    with pytest.raises(OutOfTime), time_limit(0.1, time.thread_time):
        compute()
    started = time.perf_counter()
    with pytest.raises(OutOfTime), time_limit(0.2), time_limit(5.0, time.thread_time):
        time.sleep(10)
    assert time.perf_counter() - started < 3


TABLE = "question,day\n" + "".join(f"day {i}?,2025-01-{i:02d}\n" for i in range(1, 29))
YAML = """\
name: days
data: days.csv
user: "{{question}} Answer as <reasoning>…</reasoning><answer>…</answer>"
answer: day
shares: {{test: 0.2, validation: 0.2}}
rewards:
{rewards}
metric: rewards.text:exact_text
"""


@pytest.mark.parametrize(
    ("rewards", "by"),
    [
        ("  rewards.formats:tag_format: 0.1\n  rewards.text:exact_text: 1.0", None),
        (r"  rewards.text:regex_fullmatch: {weight: 1, pattern: '\d{4}-.*'}", "another example's answer"),
        (
            "  rewards.text:regex_fullmatch: {weight: 1, pattern: '.*'}\n  rewards.text:exact_text: 1.0",
            "nothing but the format",
        ),
        ("  rewards.formats:tag_format: 1.0\n  rewards.text:exact_text: 1.0", "nothing but the format"),
        (
            r"  rewards.formats:tag_format: 0.1"
            "\n"
            r"  rewards.text:regex_fullmatch: {weight: 0.5, pattern: '[0-9-]+'}"
            "\n"
            r"  rewards.text:exact_text: 1.0",
            "another example's answer",
        ),
    ],
)
def test_a_task_in_yaml(tmp_path: Path, rewards: str, by: str | None) -> None:
    (tmp_path / "days.csv").write_text(TABLE, encoding="utf-8")
    path = tmp_path / "days.yaml"
    path.write_text(YAML.format(rewards=rewards), encoding="utf-8")
    report = lint_rewards(declared_task(path))
    assert report.problems == ()
    assert (hacked_by(report) == set()) if by is None else (by in hacked_by(report))


def test_a_slow_pattern_in_a_task_in_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONGEST_CALL", 0.2)
    (tmp_path / "days.csv").write_text(TABLE, encoding="utf-8")
    path = tmp_path / "days.yaml"
    pattern = r"(\d+-?)+"
    path.write_text(YAML.format(rewards=f"  rewards.text:regex_fullmatch: {{pattern: '{pattern}'}}"), encoding="utf-8")
    problems = lint_rewards(declared_task(path), 5).problems
    assert any(line.startswith("days-") and "regex_fullmatch takes over 0.2 s" in line for line in problems), problems


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["rewards", "lint", *arguments])
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    code, out, err = run("russian_arithmetic", "--n", "10")
    assert (code, err) == (0, "")
    assert "no findings" in out
    assert "nothing but the format\t10\t0.00\t1.00\t0.00\t9%" in out
    code, out, err = run("russian_arithmetic", "--n", "10", "--weight", "tag_format=1", "--json")
    assert code == 1
    found = json.loads(out)
    assert found["weights"] == {"tag_format": 1.0, "number": 1.0}
    assert found["hacks"][0]["share"] == 0.5
    assert "error: the rewards can be hacked by" in err
    assert err.count("\n") <= 9
    for wrong in ("tag_format", "tag_format=nan", "tag_format=inf", "tag_format=-1"):
        code, _, err = run("russian_arithmetic", "--weight", wrong)
        assert (code, err) == (
            2,
            f"error: --weight '{wrong}': write REWARD=NUMBER, from 0 on, for instance tag_format=0.1\n",
        )
    assert run("russian_arithmetic", "--weight", "nosuch=1")[0] == 2
    assert run("russian_arithmetic", "--split", "nosuch")[0] == 2
    assert run("nosuch")[0] == 2


@pytest.mark.parametrize("name", BUILTIN)
def test_wrong_answers_are_wrong_and_cheats_no_responses(name: str) -> None:
    """What the lint takes for wrong is so: by the metric that was tested by itself."""
    task = load_task(name)
    examples = list(task.examples("validation", 60, 1))
    others = [each.answers[0] for each in examples[:8]]
    kinds = set()
    for example in examples:
        for kind, completion in wrong_answers(example, others):
            assert task.metric(completion, example) < 1, (kind, completion, example.answers)
            assert parse(completion).problem is None
            kinds.add(kind)
        assert all(task.metric(completion, example) < 1 for _, completion in cheats(example, others))
        assert not any(differs(answer, example) for answer in example.answers)
    assert len(kinds) >= 3
    assert len(guesses(examples)) == 6


def test_a_gold_in_other_words_isnt_taken_for_wrong() -> None:
    utc = Example("e", ({"role": "user", "content": "?"},), ("2025-01-19T12:00:00Z",))
    assert not differs("2025-01-19T12:00:00+00:00", utc)
    assert not differs("1,000", Example("e", utc.messages, ("1000",)))
    assert not differs("«Ёлка».", Example("e", utc.messages, ("елка",)))
    leap = Example("e", utc.messages, ("2024-02-29T00:00:00+03:00",))
    assert "another year" not in dict(wrong_answers(leap, []))  # 2025 has no such day
    assert "day and month swapped" not in dict(wrong_answers(leap, []))
    last = Example("e", utc.messages, ("9999-12-31T23:59:59+03:00",))
    assert "a day off" not in dict(wrong_answers(last, []))


def test_a_task_in_a_python_file(task_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its reward compares the whole completion with the answer, so no response in the form ever scores."""
    with pytest.raises(SystemExit) as end:
        main(["rewards", "lint", str(task_file), "--n", "10"])
    assert end.value.code == 1
    assert "the gold must score 1.0 with exact, got 0.0" in capsys.readouterr().err


def test_a_task_of_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "examples" / "plugin_task" / "src"))
    import importlib

    assert lint_rewards(importlib.import_module("spelled_numbers").TASK, 20).findings == []


def test_the_rewards_on_formulas_cant_be_hacked() -> None:
    pytest.importorskip("math_verify")
    golds = ("12", "156", "\\frac{1}{2}", "x^2+1", "2\\sqrt{3}", "0", "(1, 2)", "2^{10}")

    def formulas(split: Split, n: int, seed: int) -> Iterator[Example]:
        for i, gold in enumerate(golds[:n]):
            yield Example(f"{split}-{i}", ({"role": "user", "content": f"question {i}?"},), (gold,), f"because of {i}")

    rewards = {"form": (tag_format, 0.1), "math_equal": (math_equal, 1.0)}
    assert lint_rewards(Task("formulas", "1", formulas, rewards, math_equal), len(golds)).findings == []


@pytest.mark.parametrize("inner", [0.05, 5.0])
def test_a_limit_inside_another_does_not_end_it(inner: float) -> None:
    def call() -> None:
        with suppress(OutOfTime), time_limit(inner):
            time.sleep(10)
        time.sleep(10)

    started = time.perf_counter()
    with pytest.raises(OutOfTime), time_limit(0.2):
        call()
    assert time.perf_counter() - started < 3


class Slow:
    """A reward that takes 5 ms a call, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, completion: str, example: Example) -> float:
        self.calls += 1
        time.sleep(0.005)
        return exact(completion, example)


@pytest.mark.usefixtures("quick")
def test_a_slow_reward_is_told_of_before_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "PATIENCE", 0.2)
    slow, told = Slow(), []

    def tell(line: str) -> None:
        told.append((line, slow.calls))

    task = replace(SOUND, rewards={"mine": (slow, 1.0)})
    lint_rewards(task, 5, tell=tell)
    ((line, before),) = told
    found = re.fullmatch(
        r"mine takes [5-9] ms a call: ([\d,]+) calls of each scorer, up to about [1-9] s; --n 1 .*", line
    )
    assert found is not None
    assert before == pace.GOLDS
    assert slow.calls - before == pytest.approx(int(found[1]), rel=0.15)
    told.clear()
    slow.calls = 0
    inspect_task(task, 5, tell=tell)
    ((line, before),) = told
    assert line.startswith("mine takes ")
    assert before == pace.GOLDS
    monkeypatch.setattr(pace, "PATIENCE", 30.0)
    lint_rewards(task, 2, tell=tell)
    inspect_task(replace(task, examples=lambda split, n, seed: iter(())), 2, tell=tell)
    assert len(told) == 1


def test_what_is_given_up_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONGEST_CALL", 0.05)

    def hangs(completion: str, example: Example) -> float:
        time.sleep(9)
        return 1.0

    found = pace.pace_of({"hangs": hangs, "raises": lambda *_: 1 / 0}, [*sums("train", 2, 0)], 10)
    assert (found.expected(1000), found.within(1.0, 1000), found.warning(1000, 1000)) == (0.0, 1000, None)


def test_luck_with_few_examples_is_no_hack() -> None:
    task = load_task("datetime_extraction_plain")
    assert "the most frequent answer, always" in hacked_by(lint_rewards(task, 1, timed=False))
    assert lint_rewards(task, 1, timed=False, chance=False).findings == []
