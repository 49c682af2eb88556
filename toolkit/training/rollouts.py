"""Between our rewards and TRL's trainer: names kept, every rollout written to a ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewards.core import Example, Reward, UserError
from tasks.base import Task
from toolkit.training.processes import gathered, rank

WeightedRewards = Mapping[str, tuple[Reward, float]]
TrlReward = Callable[..., list[float]]
Batch = list[tuple[str, str, bool]]
"""Of each completion: its text, the id of its example, whether it was cut."""
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

    A line of the file: step, example, completion, tokens, cut, rewards by name (unweighted), reward (their weighted
    sum). A completion that was cut earns 0 of every reward, whatever it had said, as in an evaluation.
    """

    def __init__(
        self, examples: Mapping[str, Example], rewards: WeightedRewards, path: Path, score: Scorer | None = None
    ) -> None:
        self.examples, self.rewards, self.path = examples, rewards, path
        self.score = score or self._in_process
        self._scored: tuple[Batch, list[dict[str, float]]] = ([], [])
        self.weights = tuple(weight for _, weight in rewards.values())

    @property
    def rollouts(self) -> int:
        """How many the file holds, those before a resumed run included."""
        if not self.path.is_file():
            return 0
        with self.path.open(encoding="utf-8") as file:
            return sum(1 for _ in file)

    def functions(self, ends: Collection[int]) -> list[TrlReward]:
        """One function a reward, in the order of `weights`; TRL logs each under its __name__.

        ends: the tokens that end a completion. Whatever generates keeps the one that did, as the last id.
        """
        first = next(iter(self.rewards))
        return [self._function(name, frozenset(ends), write=name == first) for name in self.rewards]

    def _function(self, name: str, ends: frozenset[int], write: bool) -> TrlReward:
        def score(
            completions: Sequence[Any],
            example_id: Sequence[str],
            completion_ids: Sequence[Sequence[int]],
            **kwargs: Any,
        ) -> list[float]:
            texts = [completion_text(completion) for completion in completions]
            cut = [not tokens or tokens[-1] not in ends for tokens in completion_ids]
            batch = list(zip(texts, example_id, cut, strict=True))
            if write or self._scored[0] != batch:
                self._scored = (batch, self._scores(batch))
            scores = self._scored[1]
            if write:
                state = kwargs.get("trainer_state")
                self._write(0 if state is None else state.global_step, batch, completion_ids, scores)
            return [each[name] for each in scores]

        score.__name__ = name
        return score

    def _scores(self, batch: Batch) -> list[dict[str, float]]:
        whole = [(text, key) for text, key, cut in batch if not cut]
        found = iter(self.score([text for text, _ in whole], [key for _, key in whole]))
        return [dict.fromkeys(self.rewards, 0.0) if cut else next(found) for _, _, cut in batch]

    def _in_process(self, texts: Sequence[str], ids: Sequence[str]) -> list[dict[str, float]]:
        return [
            {name: reward(text, self.examples[key]) for name, (reward, _) in self.rewards.items()}
            for text, key in zip(texts, ids, strict=True)
        ]

    def _write(
        self,
        step: int,
        batch: Batch,
        completion_ids: Sequence[Sequence[int]],
        scored: Sequence[Mapping[str, float]],
    ) -> None:
        lines = []
        for (text, key, cut), tokens, scores in zip(batch, completion_ids, scored, strict=True):
            row = {
                "step": step,
                "example": key,
                "completion": text,
                "tokens": len(tokens),
                "cut": cut,
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
