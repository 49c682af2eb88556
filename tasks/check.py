"""Is a task fit to train on? Scores its gold and its cheapest cheats, rebuilds it, and compares its splits.

No model is needed, so a new task is checked before the first minute of training is spent on it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from rewards.core import Example, Reward, UserError
from rewards.response import render
from tasks.base import SPLITS, Split, Task
from tasks.cheats import cheats
from tasks.contract import Problems
from tasks.pace import pace_of
from tasks.timing import limited_score

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


def check_task(task: Task, n: int = 2000, seed: int = 0) -> list[str]:
    """The problems of a task over n examples a split, one readable line each; an empty list means healthy."""
    return inspect_task(task, n, seed).problems


def inspect_task(task: Task, n: int = 2000, seed: int = 0, tell: Callable[[str], None] | None = None) -> TaskReport:
    """check_task, with the counts of each split beside the problems. tell: gets a line where scoring takes long."""
    problems = Problems()
    built: dict[Split, list[Example]] = {}
    for split in SPLITS:
        try:
            built[split] = list(task.examples(split, n, seed))
            _check_rebuild(task, split, seed, built[split], problems)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # the code under check is the user's: any failure of it is a finding
            problems.add(f"building raised {type(error).__name__}", split, f": {error}")
            built.setdefault(split, [])
    if tell is not None and (warning := _warning(task, list(built.values()))):
        tell(warning)
    for split, examples in built.items():
        if not examples:
            problems.add("the split is empty", split)
        _check_items(examples, problems)
        _check_scores(task, examples, problems)
    _check_splits(built, problems)
    own = [line for check in task.checks for line in check(task)]
    return TaskReport(problems.lines() + own, {split: _count(examples) for split, examples in built.items()})


def _warning(task: Task, splits: Sequence[list[Example]]) -> str | None:
    """What to say before the scorers are called, where that takes long."""
    examples = [example for split in splits for example in split]
    if not examples:
        return None
    completions = len(examples[0].answers) + sum(1 for _ in cheats(examples[0], _others(examples)))
    return pace_of(_scorers(task), examples, 2 * completions).warning(len(examples), max(map(len, splits)))


def _scorers(task: Task) -> dict[str, Reward]:
    return {"metric": task.metric} | {name: reward for name, (reward, _) in task.rewards.items()}


def _others(examples: Sequence[Example]) -> list[str]:
    return list(dict.fromkeys(answer for example in examples for answer in example.answers))[:3]


def _check_rebuild(task: Task, split: Split, seed: int, examples: list[Example], problems: Problems) -> None:
    for n, kind in ((len(examples), "a second build differs"), (len(examples) // 2, "a shorter build isn't a prefix")):
        again = list(task.examples(split, n, seed))
        if len(again) != n:
            problems.add(f"asked for {n} examples, the build gave {len(again)}", split)
        for one, other in zip(examples, again, strict=False):
            if one != other:
                problems.add(kind, one.id)
    if task.examples_from is not None:
        start = len(examples) // 2
        rest = list(task.examples_from(split, start, len(examples) - start, seed))
        if rest != examples[start:]:
            problems.add("examples_from gives other examples than examples", split)


def _check_items(examples: list[Example], problems: Problems) -> None:
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


def _check_scores(task: Task, examples: list[Example], problems: Problems) -> None:
    scorers, others = _scorers(task), _others(examples)
    for example in examples:
        for answer in example.answers:
            gold = render(example.reasoning, answer)
            for name, scorer in scorers.items():
                score = limited_score(name, scorer, gold, example, problems)
                if score is not None and score != 1.0:
                    problems.add(f"the gold must score 1.0 with {name}", example.id, f", got {score} for {gold!r}")
        for kind, completion in cheats(example, others):
            for name, scorer in scorers.items():
                score = limited_score(name, scorer, completion, example, problems)
                if name == "metric" and score is not None and score >= 1.0:
                    detail = f": {score} for {completion[:200]!r}"
                    problems.add(f"the metric gives full marks to {kind}", example.id, detail)


def _check_splits(built: Mapping[Split, list[Example]], problems: Problems) -> None:
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
