"""Is a task fit to train on? Scores its gold and its cheapest cheats, rebuilds it, and compares its splits.

No model is needed, so a new task is checked before the first minute of training is spent on it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from rewards.core import Example, Reward, UserError
from rewards.response import ANSWER_CLOSE, ANSWER_OPEN, REASONING_CLOSE, REASONING_OPEN, render
from tasks.base import SPLITS, Split, Task

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """What a split holds: how many examples, how many groups, and for each tag how many examples have each value."""

    examples: int
    groups: int
    tags: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class TaskReport:
    """The problems of a task, one line each (none: the task is healthy), and what its splits hold."""

    problems: list[str]
    counts: dict[Split, SplitCounts]


@dataclass(slots=True)
class _Problems:
    """Problems by kind: the first example of each is shown, the others are counted."""

    first: dict[str, str] = field(default_factory=dict)
    more: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, where: str, detail: str = "") -> None:
        if kind in self.first:
            self.more[kind] += 1
        else:
            self.first[kind] = f"{where}: {kind}{detail}"

    def lines(self) -> list[str]:
        return [
            f"{line} (and {self.more[kind]} more)" if self.more[kind] else line for kind, line in self.first.items()
        ]


def check_task(task: Task, n: int = 2000, seed: int = 0) -> list[str]:
    """The problems of a task over n examples a split, one readable line each; an empty list means healthy."""
    return inspect_task(task, n, seed).problems


def inspect_task(task: Task, n: int = 2000, seed: int = 0) -> TaskReport:
    """check_task, with the counts of each split beside the problems."""
    problems = _Problems()
    built: dict[Split, list[Example]] = {}
    for split in SPLITS:
        try:
            built[split] = list(task.examples(split, n, seed))
            _check_rebuild(task, split, seed, built[split], problems)
        except UserError:
            raise
        except Exception as error:  # the code under check is the user's: any failure of it is a finding
            problems.add(f"building raised {type(error).__name__}", split, f": {error}")
            built.setdefault(split, [])
    for split, examples in built.items():
        if not examples:
            problems.add("the split is empty", split)
        _check_items(examples, problems)
        _check_scores(task, examples, problems)
    _check_splits(built, problems)
    own = [line for check in task.checks for line in check(task)]
    return TaskReport(problems.lines() + own, {split: _count(examples) for split, examples in built.items()})


def _check_rebuild(task: Task, split: Split, seed: int, examples: list[Example], problems: _Problems) -> None:
    for n, kind in ((len(examples), "a second build differs"), (len(examples) // 2, "a shorter build isn't a prefix")):
        again = list(task.examples(split, n, seed))
        if len(again) != n:
            problems.add(f"asked for {n} examples, the build gave {len(again)}", split)
        for one, other in zip(examples, again, strict=False):
            if one != other:
                problems.add(kind, one.id)


def _check_items(examples: list[Example], problems: _Problems) -> None:
    for example in examples:
        roles = [turn["role"] for turn in example.messages]
        if not roles or roles[-1] != "user":
            problems.add("the messages must end in a user turn", example.id, f", got the roles {roles}")
        for role in set(roles) - set(ROLES):
            problems.add(f"unknown role {role!r}", example.id, f"; allowed: {', '.join(ROLES)}")
        if not example.answers or not all(answer.strip() for answer in example.answers):
            problems.add("an example needs answers, none of them blank", example.id, f", got {example.answers!r}")
        if example.tags.keys() != examples[0].tags.keys():
            detail = f", got {sorted(example.tags)} beside {sorted(examples[0].tags)} of {examples[0].id}"
            problems.add("the tags must have the same keys", example.id, detail)
        if not _survives_json(example):
            problems.add("the example changes when written to JSON and read back", example.id)


def _survives_json(example: Example) -> bool:
    try:
        return Example.from_json(json.loads(json.dumps(example.to_json()))) == example
    except (TypeError, ValueError):
        return False


def _check_scores(task: Task, examples: list[Example], problems: _Problems) -> None:
    scorers: dict[str, Reward] = {"metric": task.metric} | {name: fn for name, (fn, _) in task.rewards.items()}
    others = list(dict.fromkeys(answer for example in examples for answer in example.answers))[:3]
    for example in examples:
        for answer in example.answers:
            gold = render(example.reasoning, answer)
            for name, scorer in scorers.items():
                score = _score(name, scorer, gold, example, problems)
                if score is not None and score != 1.0:
                    problems.add(f"the gold must score 1.0 with {name}", example.id, f", got {score} for {gold!r}")
        for kind, completion in _cheats(example, others):
            for name, scorer in scorers.items():
                score = _score(name, scorer, completion, example, problems)
                if name == "metric" and score is not None and score >= 1.0:
                    detail = f": {score} for {completion[:200]!r}"
                    problems.add(f"the metric gives full marks to {kind}", example.id, detail)


def _score(name: str, scorer: Reward, completion: str, example: Example, problems: _Problems) -> float | None:
    """The score, or None if the reward broke its contract, which becomes a problem."""
    shown = f" on {completion[:200]!r}"
    try:
        score, again = scorer(completion, example), scorer(completion, example)
    except Exception as error:  # a reward must never raise: whatever it raised is the finding
        problems.add(f"{name} raised {type(error).__name__}", example.id, f" ({error}){shown}")
        return None
    if not isinstance(score, (int, float)) or not 0 <= score <= 1:
        problems.add(f"{name} must give a number within [0, 1]", example.id, f", got {score!r}{shown}")
        return None
    if score != again:
        problems.add(f"{name} gave two scores to one completion", example.id, f": {score} and {again}{shown}")
    return score


def _cheats(example: Example, others: list[str]) -> Iterator[tuple[str, str]]:
    """What a model gives when it hasn't solved anything, or hopes that the scorer won't look closely."""
    prompt = "\n".join(turn["content"] for turn in example.messages)
    gold = example.answers[0] if example.answers else ""
    response = render(example.reasoning, gold)
    yield "an empty completion", ""
    yield "white space", " \n"
    yield "the prompt repeated", prompt
    yield "the prompt repeated as the reasoning", render(prompt, "")
    yield "bare tags", render("", "")
    yield "bare opening tags", REASONING_OPEN + ANSWER_OPEN
    yield "an answer in the reasoning only", render(gold, "")
    yield "a reasoning block without an answer block", f"{REASONING_OPEN}{gold}{REASONING_CLOSE}"
    yield "the response given twice", response + response
    for other in [answer for answer in others if answer not in example.answers][:1]:
        second = f"{ANSWER_OPEN}{other}{ANSWER_CLOSE}"
        yield "two answer blocks", response + second
        yield "two answers in one block", render(example.reasoning, f"{gold} or {other}")


def _check_splits(built: Mapping[Split, list[Example]], problems: _Problems) -> None:
    seen: Counter[str] = Counter()
    for split, examples in built.items():
        for example in examples:
            if seen[example.id]:
                problems.add("the id occurs twice", example.id, f" (again in {split})")
            seen[example.id] += 1
    for one, other in combinations(built, 2):
        groups = {example.group for example in built[one]} - {""}
        prompts = {_prompt(example): example.id for example in built[one]}
        for example in built[other]:
            if example.group in groups:
                problems.add(f"its group is in {one} and in {other}", example.id, f": {example.group!r}")
            if (twin := prompts.get(_prompt(example))) is not None:
                problems.add(f"its prompt is in {one} and in {other}", example.id, f", there as {twin}")


def _prompt(example: Example) -> str:
    return json.dumps(example.messages, ensure_ascii=False, sort_keys=True)


def _count(examples: list[Example]) -> SplitCounts:
    tags: dict[str, Counter[str]] = {}
    for example in examples:
        for key, value in example.tags.items():
            tags.setdefault(key, Counter())[value] += 1
    return SplitCounts(len(examples), len({example.group for example in examples} - {""}), tags)
