"""The one object that carries a task: its examples, its rewards and its metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from rewards.core import Example, Message, Reward

__all__ = ["SPLITS", "Ask", "Example", "Message", "Reward", "Split", "Task"]

Ask = Callable[[str, datetime], tuple[Message, ...]]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Task:
    """A task: training, evaluation and benchmarks read nothing else.

    examples(split, n, seed) yields n examples; example i depends on (split, seed, i) only, so a shorter build is a
    prefix of a longer one. rewards maps a name to (function, default weight); a recipe may override the weights.
    metric is the strict score that reports use; it must be one of the reward functions or stricter than each of them.
    ask(text, now) builds the prompt for a stranger's text (`toolkit predict`, `toolkit ui`), whatever `now` where the
    prompt states no moment; None where a text alone makes no question.
    examples_from(split, start, n, seed), where it is there, yields n examples from the start-th on: large data are then
    built on all cores. checks are the task's own for `toolkit task check`, beside those that hold for every task: each
    gives a line a problem.
    """

    name: str
    version: str
    examples: Callable[[Split, int, int], Iterator[Example]]
    rewards: Mapping[str, tuple[Reward, float]]
    metric: Reward
    ask: Ask | None = None
    checks: tuple[Callable[[Task], list[str]], ...] = ()
    examples_from: Callable[[Split, int, int, int], Iterator[Example]] | None = None
