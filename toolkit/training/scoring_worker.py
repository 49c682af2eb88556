"""The rewards' own process: `python -m toolkit.training.scoring_worker TASK EXAMPLES`. scoring.py starts it.

In: a line of JSON for each completion, {"text", "id", "rewards": names}. Out: a line for each of these rewards, in
order: a number, or {"problem": why there is none}. A line is written as soon as its reward has answered, so that the
parent knows which one hangs.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from rewards.core import Example, Reward
from tasks.contract import BrokenReward, score_of
from tasks.registry import load_task
from toolkit.data import read_examples


def main(task: str, examples: str) -> None:
    """Answer until stdin closes; end at once when the parent does, even within a reward."""
    _die_with_parent()
    # what a reward prints must not be taken for a score
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    by_id = {example.id: example for example in read_examples(Path(examples))}
    rewards = load_task(task).rewards
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        for name in asked["rewards"]:
            answer = _answer(rewards[name][0], asked["text"], by_id[asked["id"]])
            print(json.dumps(answer), file=answers, flush=True)


def _die_with_parent() -> None:
    """Let Linux's kernel do it: a watching thread would wait for the interpreter, which a runaway regex never gives up.

    It goes by the thread that started this process: of a trainer its main one.
    """
    if sys.platform != "linux":
        return
    death_signal = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
    ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)


def _answer(reward: Reward, text: str, example: Example) -> Any:
    try:
        return score_of(reward, text, example)
    except BrokenReward as broken:
        return {"problem": str(broken)[:500]}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
