"""A healthy task has no problems; each way of breaking one is named, with an example."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, islice
from typing import Any

import numpy as np
import pytest

from rewards.core import Example, UserError
from rewards.formats import tag_format
from rewards.response import parse
from tasks import timing
from tasks.base import SPLITS, Split, Task
from tasks.check import check_task, inspect_task
from tasks.contract import BrokenReward, score_of
from tasks.registry import BUILTIN, load_task

Change = Callable[[Example], Example]


def exact(completion: str, example: Example) -> float:
    response = parse(completion)
    return float(response.problem is None and response.answer in example.answers)


def mentions(completion: str, example: Example) -> float:
    return float(any(answer in completion for answer in example.answers))


def leaves(*_: Any) -> Any:
    raise SystemExit(0)


def hangs(completion: str, example: Example) -> float:
    while True:
        pass


def lenient(completion: str, example: Example) -> float:
    return float(any(parse(completion).answer.startswith(answer) for answer in example.answers))


def cracks(completion: str, example: Example) -> float:
    return float(completion[0] == "<")


def sums(split: Split, n: int, seed: int) -> Iterator[Example]:
    for i in range(n):
        a, b = SPLITS.index(split) + 1, 1000 * seed + i
        yield Example(
            id=f"{split}-{seed}-{i}",
            messages=({"role": "user", "content": f"{a}+{b}?"},),
            answers=(str(a + b),),
            reasoning=f"{a} and {b}",
            tags={"a": str(a)},
            group=f"{a}+{i % 5}",
        )


HEALTHY = Task("sums", "1", sums, {"exact": (exact, 1.0), "form": (tag_format, 0.1)}, exact)


def changed(change: Change, only: Split | None = None) -> Task:
    """HEALTHY, with a change to every example, or to those of one split."""

    def examples(split: Split, n: int, seed: int) -> Iterator[Example]:
        return (change(each) if only in (None, split) else each for each in sums(split, n, seed))

    return replace(HEALTHY, examples=examples)


def with_(**fields: Any) -> Change:
    return lambda example: replace(example, **fields)


def problem(task: Task) -> str:
    """The one problem that a broken task must show: no more, or one mistake would be told as many."""
    found = check_task(task, n=10)
    assert len(found) == 1, found
    assert "\n" not in found[0]
    return found[0]


@pytest.mark.parametrize("name", BUILTIN)
@pytest.mark.parametrize("seed", [0, 7])
def test_the_built_in_tasks_are_healthy(name: str, seed: int) -> None:
    assert check_task(load_task(name), n=1000, seed=seed) == []


def test_a_healthy_task_and_its_counts() -> None:
    report = inspect_task(HEALTHY, n=20)
    assert report.problems == []
    assert (report.counts["test"].examples, report.counts["test"].groups) == (20, 5)
    assert report.counts["test"].tags == {"a": {"3": 20}}


def test_no_group_isnt_a_group_that_splits_share() -> None:
    assert check_task(changed(with_(group="")), n=10) == []


def test_a_finite_task_may_hold_less_than_asked() -> None:
    assert check_task(replace(HEALTHY, examples=lambda split, n, seed: sums(split, min(n, 7), seed)), n=10) == []


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        (mentions, "train-0-0: the metric gives full marks to an answer in the reasoning only: 1.0 for '<reasoning>1<"),
        (mentions, "full marks to a reasoning block without an answer block"),
        (mentions, "full marks to the response given twice"),
        (mentions, "full marks to two answer blocks"),
        (lenient, "train-0-0: the metric gives full marks to two answers in one block: 1.0 for"),
        (lambda completion, example: 1.0, "train-0-0: the metric gives full marks to an empty completion: 1.0 for ''"),
        (lambda completion, example: 1.0, "full marks to the prompt repeated"),
        (lambda completion, example: 1.0, "full marks to bare tags"),
    ],
)
def test_a_metric_that_can_be_cheated(reward: Callable[[str, Example], float], says: str) -> None:
    found = check_task(replace(HEALTHY, metric=reward), n=10)
    assert any(says in line and line.endswith("more)") for line in found), found


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (
            replace(HEALTHY, rewards={"half": (lambda c, e: 0.5, 1.0)}),
            "train-0-0: the gold must score 1.0 with half, got",
        ),
        (
            replace(HEALTHY, rewards={"big": (lambda c, e: 1.5, 1.0)}),
            "big must give a number within [0, 1], got 1.5 on '",
        ),
        (
            replace(HEALTHY, rewards={"nan": (lambda c, e: float("nan"), 1.0)}),
            "nan must give a number within [0, 1], got",
        ),
        (replace(HEALTHY, rewards={"text": (lambda c, e: "1", 1.0)}), "text must give a number within [0, 1], got '1'"),  # type: ignore[dict-item,return-value]
        (
            replace(HEALTHY, rewards={"cracks": (cracks, 1.0)}),
            "train-0-0: cracks raised IndexError (string index out of",
        ),
        (replace(HEALTHY, rewards={"leaves": (leaves, 1.0)}), f"train-0-0: leaves raised SystemExit (0; {__file__}:"),
        (replace(HEALTHY, examples=leaves), "train: building raised SystemExit: 0"),
        (changed(with_(answers=())), "train-0-0: an example needs answers, none of them blank, got ()"),
        (
            changed(lambda e: replace(e, messages=(*e.messages, {"role": "assistant", "content": "!"}))),
            "must end in a user",
        ),
        (
            changed(lambda e: replace(e, messages=({"role": "bot", "content": "!"}, *e.messages))),
            "unknown role 'bot'; al",
        ),
        (
            changed(lambda e: replace(e, tags={"b": "1"} if e.id.endswith("3") else e.tags)),
            "train-0-3: the tags must have",
        ),
        (
            changed(with_(context={"when": object()})),
            "train-0-0: the example changes when written to JSON and read back",
        ),
        (changed(with_(id="same"), "validation"), "same: the id occurs twice (again in validation) (and 8 more)"),
        (changed(with_(group="1+0"), "test"), "test-0-0: its group is in train and in test: '1+0' (and 9 more)"),
        (
            changed(with_(messages=({"role": "user", "content": "1+4?"},)), "test"),
            "test-0-0: its prompt is in train and",
        ),
        (
            replace(HEALTHY, examples=lambda split, n, seed: sums(split, 0 if split == "test" else n, seed)),
            "test: the split",
        ),
        (
            replace(HEALTHY, examples=lambda split, n, seed: iter([sums(split, n, seed)][1])),
            "train: building raised IndexError",
        ),
    ],
)
def test_a_broken_task(task: Task, says: str) -> None:
    found = check_task(task, n=10)
    assert any(says in line for line in found), found
    assert len(found) <= 5
    assert not any("\n" in line for line in found)


def test_one_mistake_is_one_line() -> None:
    assert problem(changed(with_(group="1+0"), "test")).startswith("test-0-0: its group is in train and in test")
    assert problem(replace(HEALTHY, rewards={"half": (lambda c, e: 0.5, 1.0)})).startswith("train-0-0: the gold must")


def test_a_build_that_changes() -> None:
    calls = count()

    def examples(split: Split, n: int, seed: int) -> Iterator[Example]:
        return (replace(each, reasoning=str(next(calls))) for each in sums(split, n, seed))

    found = check_task(replace(HEALTHY, examples=examples), n=10)
    assert found[0] == "train-0-0: a second build differs (and 29 more)"
    assert found[1] == "train-0-0: a shorter build isn't a prefix (and 14 more)"


def test_a_build_whose_length_matters() -> None:
    def examples(split: Split, n: int, seed: int) -> Iterator[Example]:
        return (replace(each, reasoning=f"one of {n}") for each in sums(split, n, seed))

    assert problem(replace(HEALTHY, examples=examples)) == "train-0-0: a shorter build isn't a prefix (and 14 more)"


def test_a_build_that_begins_elsewhere() -> None:
    def right(split: Split, start: int, n: int, seed: int) -> Iterator[Example]:
        return islice(sums(split, start + n, seed), start, None)

    def wrong(split: Split, start: int, n: int, seed: int) -> Iterator[Example]:
        return sums(split, n, seed)

    assert check_task(replace(HEALTHY, examples_from=right), n=10) == []
    assert problem(replace(HEALTHY, examples_from=wrong)) == (
        "train: examples_from gives other examples than examples (and 2 more)"
    )


def test_a_reward_that_throws_dice() -> None:
    calls = count()
    dice = replace(HEALTHY, rewards={"dice": (lambda c, e: float(next(calls) % 2 == 0), 1.0)})
    assert problem(dice).startswith("train-0-0: dice gave two scores to one completion: 1.0 and 0.0 on ")


def test_a_scorer_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONGEST_CALL", 0.1)
    for task in (replace(HEALTHY, rewards={"hangs": (hangs, 1.0)}), replace(HEALTHY, metric=hangs)):
        assert re.match(r"train-0-0: (hangs|metric) takes over 0\.1 s on one completion: '", problem(task))


def test_ctrl_c_in_a_reward_ends_the_check() -> None:
    def interrupted(completion: str, example: Example) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_task(replace(HEALTHY, rewards={"interrupted": (interrupted, 1.0)}))


def test_a_mistake_of_the_user_is_told_as_it_is() -> None:
    def examples(split: Split, n: int, seed: int) -> Iterator[Example]:
        raise UserError("data.csv: no such file")

    with pytest.raises(UserError, match=r"^data\.csv"):
        check_task(replace(HEALTHY, examples=examples))


@pytest.mark.parametrize("score", [0, True, 0.5, np.float32(0.5)])
def test_any_real_number_is_a_score(score: Any) -> None:
    """One rule for checks, evaluations and training: what the one takes, the others take."""
    example = Example("a", ({"role": "user", "content": "?"},), ("1",))
    found = score_of(lambda completion, example: score, "", example)
    assert (found, type(found)) == (float(score), float)


@pytest.mark.parametrize("score", [None, "1", 1.01, -0.5, float("nan"), np.float32("nan"), np.array([1.0, 0.0])])
def test_anything_else_breaks_the_contract(score: Any) -> None:
    example = Example("a", ({"role": "user", "content": "?"},), ("1",))
    with pytest.raises(BrokenReward, match=r"must give a number within \[0, 1\], got "):
        score_of(lambda completion, example: score, "", example)


def test_a_reward_of_another_signature_is_told_what_a_reward_is() -> None:
    def theirs(completions: list[str], **kw: Any) -> list[float]:  # TRL's
        return [1.0]

    (line,) = check_task(replace(HEALTHY, rewards={"theirs": (theirs, 1.0)}), n=5)  # type: ignore[dict-item]
    assert "theirs raised TypeError (" in line
    assert "takes 1 positional argument but 2 were given; a reward is `def f(completion: str, example: Example)" in line


def test_an_error_inside_a_reward_has_its_line() -> None:
    with pytest.raises(
        BrokenReward, match=r"raised IndexError \(string index out of range; .*test_task_check\.py:\d+\)$"
    ):
        score_of(cracks, "", next(sums("train", 1, 0)))
    with pytest.raises(BrokenReward, match=r"raised TypeError \(.*test_task_check\.py:\d+\)$"):
        score_of(lambda completion, example: float(None), "", next(sums("train", 1, 0)))  # type: ignore[arg-type]
