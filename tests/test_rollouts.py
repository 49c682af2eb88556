from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.jsonl import read_jsonl
from eval.engines.base import Completion, FinishReason
from eval.records import score
from rewards.core import Example, UserError
from rewards.response import render
from tasks.registry import load_task
from toolkit.training.rollouts import RewardLedger, WeightedRewards, completion_text, weighted_rewards

EXAMPLES = {
    name: Example(id=name, messages=({"role": "user", "content": name},), answers=(name.upper(),)) for name in "abc"
}


def exact(completion: str, example: Example) -> float:
    return float(completion == example.answers[0])


def short(completion: str, example: Example) -> float:
    return 0.5 if len(completion) < 4 else 0.0


ENDS = (2, 7)
REWARDS: WeightedRewards = {"exact": (exact, 1.0), "short": (short, 0.1)}


@dataclass
class State:
    global_step: int


def turns(*texts: str) -> list[list[dict[str, str]]]:
    """Completions as TRL hands them over for conversational prompts."""
    return [[{"role": "assistant", "content": text}] for text in texts]


def call(function: Any, texts: tuple[str, ...], ids: list[str], step: int = 0, last: tuple[int, ...] = ()) -> Any:
    """Call a reward as trl 1.15 does: all by keyword, and more of them than it needs. last: the last token of each."""
    return function(
        prompts=[list(EXAMPLES[key].messages) for key in ids],
        completions=turns(*texts),
        completion_ids=[[*([5] * len(text)), end] for text, end in zip(texts, last or [2] * len(texts), strict=True)],
        example_id=ids,
        trainer_state=State(step),
        log_extra=lambda column, values: None,
        log_metric=lambda name, value: None,
    )


def test_each_reward_keeps_its_name_and_its_place(tmp_path: Path) -> None:
    ledger = RewardLedger(EXAMPLES, REWARDS, tmp_path / "rollouts.jsonl")
    functions = ledger.functions(ENDS)
    assert [function.__name__ for function in functions] == ["exact", "short"]
    assert ledger.weights == (1.0, 0.1)


def test_a_reward_scores_each_completion_by_its_own_example(tmp_path: Path) -> None:
    exact_of, short_of = RewardLedger(EXAMPLES, REWARDS, tmp_path / "r.jsonl").functions(ENDS)
    texts, ids = ("A", "A", "B", "long enough"), ["a", "b", "b", "a"]
    assert call(exact_of, texts, ids) == [1.0, 0.0, 1.0, 0.0]
    assert call(short_of, texts, ids) == [0.5, 0.5, 0.5, 0.0]


def test_every_rollout_is_one_row_with_all_its_rewards(tmp_path: Path) -> None:
    ledger = RewardLedger(EXAMPLES, REWARDS, tmp_path / "rollouts.jsonl")
    assert ledger.rollouts == 0
    for step, texts in ((0, ("A", "неверно")), (1, ("nope", "B"))):
        for function in ledger.functions(ENDS):
            call(function, texts, ["a", "b"], step)
    assert read_jsonl(ledger.path) == [
        row(0, "a", "A", 2, 1.0, 0.5, 1.05),
        row(0, "b", "неверно", 8, 0.0, 0.0, 0.0),
        row(1, "a", "nope", 5, 0.0, 0.0, 0.0),
        row(1, "b", "B", 2, 1.0, 0.5, 1.05),
    ]
    assert ledger.rollouts == 4
    assert "неверно" in ledger.path.read_text(encoding="utf-8")


def row(step: int, example: str, text: str, tokens: int, exact: float, short: float, reward: float) -> dict[str, Any]:
    rewards = {"exact": exact, "short": short}
    return {
        "step": step, "example": example, "completion": text, "tokens": tokens, "cut": False, "rewards": rewards,
        "reward": reward,
    }  # fmt: skip


def test_a_cut_completion_earns_nothing_of_any_reward_and_is_not_scored(tmp_path: Path) -> None:
    asked: list[Any] = []

    def scorer(texts: Sequence[str], ids: Sequence[str]) -> list[dict[str, float]]:
        asked.append((list(texts), list(ids)))
        return [{"exact": 1.0, "short": 0.5} for _ in texts]

    ledger = RewardLedger(EXAMPLES, REWARDS, tmp_path / "rollouts.jsonl", scorer)
    exact_of, short_of = ledger.functions(ENDS)
    texts, ids, last = ("A", "B", "C"), ["a", "b", "c"], (7, 5, 2)
    assert call(exact_of, texts, ids, last=last) == [1.0, 0.0, 1.0], "each of several end tokens ends one"
    assert call(short_of, texts, ids, last=last) == [0.5, 0.0, 0.5]
    assert asked == [(["A", "C"], ["a", "c"])]
    assert [(row["cut"], row["reward"]) for row in read_jsonl(ledger.path)] == [(False, 1.05), (True, 0), (False, 1.05)]
    assert call(short_of, texts, ids, last=(5, 5, 2)) == [0.0, 0.0, 0.5], "the same texts, cut otherwise"
    assert exact_of(completions=turns(""), example_id=["a"], completion_ids=[[]]) == [0.0]


def test_what_an_evaluation_counts_as_cut_earns_in_training_what_it_earns_there(tmp_path: Path) -> None:
    task = load_task("datetime_extraction_plain")
    example = next(iter(task.examples("train", 1, 0)))
    gold = render(example.reasoning, example.answers[0])
    functions = RewardLedger({example.id: example}, weighted_rewards(task, {}), tmp_path / "r.jsonl").functions(ENDS)
    for ids, reason in (([5] * 128, "length"), ([5] * 127 + [2], "stop")):
        completion = Completion(example.id, 0, gold, cast("FinishReason", reason), len(ids))
        record = score(task, example, completion, "")
        trained = [
            function(completions=[gold], example_id=[example.id], completion_ids=[ids]) for function in functions
        ]
        assert trained == [[record.rewards[function.__name__]] for function in functions]


def test_a_ledger_that_goes_on_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    for step in range(2):
        ledger = RewardLedger(EXAMPLES, REWARDS, path)
        call(ledger.functions(ENDS)[0], ("A",), ["a"], step)
    assert [each["step"] for each in read_jsonl(path)] == [0, 1]
    assert ledger.rollouts == 2


def test_fewer_ids_than_completions_is_an_error_and_no_guess(tmp_path: Path) -> None:
    function = RewardLedger(EXAMPLES, REWARDS, tmp_path / "r.jsonl").functions(ENDS)[1]
    with pytest.raises(ValueError, match="shorter"):
        function(completions=turns("A", "B"), example_id=["a"], completion_ids=[[1], [1]])


@pytest.mark.parametrize("completion", ["text", [{"role": "assistant", "content": "text"}]])
def test_the_text_of_a_completion(completion: Any) -> None:
    assert completion_text(completion) == "text"


def test_weights_of_a_recipe_replace_the_tasks_own() -> None:
    task = load_task("datetime_extraction")
    own = weighted_rewards(task, {})
    assert {name: weight for name, (_, weight) in own.items()} == {"tag_format": 0.1, "exact_datetime": 1.0}
    mixed = weighted_rewards(task, {"exact_datetime": 2.5})
    assert {name: weight for name, (_, weight) in mixed.items()} == {"tag_format": 0.1, "exact_datetime": 2.5}
    assert {name: reward for name, (reward, _) in mixed.items()} == {n: reward for n, (reward, _) in own.items()}
    assert weighted_rewards(task, {"tag_format": 0})["tag_format"][1] == 0
    with pytest.raises(UserError, match="rewards: every weight is 0, so nothing is rewarded; give one of "):
        weighted_rewards(task, dict.fromkeys(task.rewards, 0.0))


def test_an_unknown_reward_names_the_allowed() -> None:
    with pytest.raises(UserError) as caught:
        weighted_rewards(load_task("datetime_extraction"), {"tag_format": 1.0, "exact_date": 1.0})
    expected = "rewards.exact_date: task 'datetime_extraction' has no such reward; it has tag_format, exact_datetime"
    assert str(caught.value) == expected


def test_the_gold_of_a_real_task_earns_every_weight(tmp_path: Path) -> None:
    task = load_task("datetime_extraction_plain")
    examples = {example.id: example for example in task.examples("train", 20, 0)}
    ledger = RewardLedger(examples, weighted_rewards(task, {}), tmp_path / "r.jsonl")
    golds = [render(example.reasoning, example.answers[0]) for example in examples.values()]
    scores = [
        function(completions=turns(*golds), example_id=list(examples), completion_ids=[[2]] * 20)
        for function in ledger.functions(ENDS)
    ]
    assert scores == [[1.0] * 20, [1.0] * 20]
    assert {each["reward"] for each in read_jsonl(ledger.path)} == {1.1}
    swapped = [*list(examples)[1:], next(iter(examples))]
    wrong = RewardLedger(examples, ledger.rewards, tmp_path / "w.jsonl").functions(ENDS)[1]
    right = wrong(completions=turns(*golds), example_id=swapped, completion_ids=[[2]] * 20)
    assert sum(right) < 10, "answers of other examples seldom fit"
