"""Between our rewards and TRL's trainer: names kept, every rollout written to a ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewards.core import Example, Reward, UserError
from tasks.base import Task
from toolkit.training.processes import gathered, rank

WeightedRewards = Mapping[str, tuple[Reward, float]]
TrlReward = Callable[..., list[float]]
Scorer = Callable[[Sequence[str], Sequence[str]], list[dict[str, float]]]
"""(completions, ids of their examples) -> the unweighted scores of each by the reward's name."""


def weighted_rewards(task: Task, weights: Mapping[str, float]) -> WeightedRewards:
    """The task's rewards under a recipe's weights. Raises UserError for a name that the task hasn't, and for all 0."""
    for name in weights:
        if name not in task.rewards:
            raise UserError(f"rewards.{name}: task {task.name!r} has no such reward; it has {', '.join(task.rewards)}")
    weighted = {name: (reward, weights.get(name, default)) for name, (reward, default) in task.rewards.items()}
    if not any(weight for _, weight in weighted.values()):
        raise UserError(f"rewards: every weight is 0, so nothing is rewarded; give one of {', '.join(weighted)} more")
    return weighted


class RewardLedger:
    """TRL calls one function a reward; this scores a batch once for all of them and appends each rollout to a file.

    score: who computes the scores (`scoring.IsolatedRewards`); by default the rewards themselves, in this process.

    A line of the file: step, example, completion, tokens, rewards by name (unweighted), reward (their weighted sum).
    """

    def __init__(
        self, examples: Mapping[str, Example], rewards: WeightedRewards, path: Path, score: Scorer | None = None
    ) -> None:
        self.examples, self.rewards, self.path = examples, rewards, path
        self.score = score or self._in_process
        self._scored: tuple[list[str], list[str], list[dict[str, float]]] = ([], [], [])
        self.weights = tuple(weight for _, weight in rewards.values())

    @property
    def rollouts(self) -> int:
        """How many the file holds, those before a resumed run included."""
        if not self.path.is_file():
            return 0
        with self.path.open(encoding="utf-8") as file:
            return sum(1 for _ in file)

    def functions(self) -> list[TrlReward]:
        """One function a reward, in the order of `weights`; TRL logs each under its __name__."""
        first = next(iter(self.rewards))
        return [self._function(name, write=name == first) for name in self.rewards]

    def _function(self, name: str, write: bool) -> TrlReward:
        def score(
            completions: Sequence[Any],
            example_id: Sequence[str],
            completion_ids: Sequence[Sequence[int]],
            **kwargs: Any,
        ) -> list[float]:
            texts, ids = [completion_text(completion) for completion in completions], list(example_id)
            if write or self._scored[:2] != (texts, ids):
                self._scored = (texts, ids, self.score(texts, ids))
            scores = self._scored[2]
            if write:
                state = kwargs.get("trainer_state")
                self._write(0 if state is None else state.global_step, texts, ids, completion_ids, scores)
            return [each[name] for each in scores]

        score.__name__ = name
        return score

    def _in_process(self, texts: Sequence[str], ids: Sequence[str]) -> list[dict[str, float]]:
        return [
            {name: reward(text, self.examples[key]) for name, (reward, _) in self.rewards.items()}
            for text, key in zip(texts, ids, strict=True)
        ]

    def _write(
        self,
        step: int,
        texts: Sequence[str],
        ids: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        scored: Sequence[Mapping[str, float]],
    ) -> None:
        lines = []
        for text, key, tokens, scores in zip(texts, ids, completion_ids, scored, strict=True):
            row = {
                "step": step,
                "example": key,
                "completion": text,
                "tokens": len(tokens),
                "rewards": scores,
                "reward": sum(weight * scores[name] for name, (_, weight) in self.rewards.items()),
            }
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        lines = gathered(lines)  # one process writes for all: appends of several tear each other's lines
        if rank() == 0:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(lines)


def completion_text(completion: Any) -> str:
    """The text of a completion as TRL hands it over: plain, or a conversation of one assistant turn."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])
