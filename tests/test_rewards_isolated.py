"""Rewards in a process of their own: one that hangs, raises, lies or crashes loses its score, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jsonl import read_jsonl
from rewards.core import Example, UserError
from toolkit.data import write_examples
from toolkit.training import scoring
from toolkit.training.scoring import IsolatedRewards

TASK = """\
import os, re, time
from rewards.core import Example
from tasks.base import Task


def exact(completion, example):
    print("a reward may print")
    return float(completion in example.answers)


def odd(completion, example):
    if completion == "hang":
        time.sleep(1000)
    if completion == "run away":
        re.match("(a+)+$", "a" * 60 + "b")
    if completion == "raise":
        raise ValueError("no such thing")
    if completion == "leave":
        raise SystemExit(0)
    if completion == "crash":
        os._exit(7)
    if completion == "lie":
        return 2.0
    return 0.5


def last(completion, example):
    return 1.0


def examples(split, n, seed):
    return iter(())


TASK = Task("odd", "1", examples, {"exact": (exact, 1.0), "odd": (odd, 1.0), "last": (last, 0.1)}, exact)
"""
NAMES = ("exact", "odd", "last")


def rewards(tmp_path: Path, timeout: float = 10.0) -> IsolatedRewards:
    (tmp_path / "task.py").write_text(TASK, encoding="utf-8")
    examples = [
        Example(id=name, messages=({"role": "user", "content": "?"},), answers=("да",), reasoning=None) for name in "ab"
    ]
    write_examples(tmp_path / "examples.jsonl", examples)
    return IsolatedRewards(
        str(tmp_path / "task.py"), tmp_path / "examples.jsonl", NAMES, tmp_path / "problems.jsonl", timeout
    )


def problems(isolated: IsolatedRewards) -> list[dict[str, Any]]:
    return read_jsonl(isolated.problems)


def test_scores_come_by_name_and_in_order(tmp_path: Path) -> None:
    isolated = rewards(tmp_path)
    assert isolated(["да", "нет\nи ещё"], ["a", "b"]) == [
        {"exact": 1.0, "odd": 0.5, "last": 1.0},
        {"exact": 0.0, "odd": 0.5, "last": 1.0},
    ]
    assert not isolated.problems.exists()
    isolated.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise", "raised ValueError (no such thing; "),
        ("leave", "raised SystemExit (0; "),
        ("lie", "must give a number within [0, 1], got 2.0"),
        ("crash", "crashed its process: exit status 7"),
        ("hang", "gave no answer within 0.5 s"),
    ],
)
def test_a_broken_reward_scores_nothing_and_the_others_go_on(text: str, says: str, tmp_path: Path) -> None:
    isolated = rewards(tmp_path, 0.5 if text == "hang" else 10.0)
    scores = isolated([text, "да"], ["a", "b"])
    assert scores == [{"exact": 0.0, "odd": 0.0, "last": 1.0}, {"exact": 1.0, "odd": 0.5, "last": 1.0}]
    (kept,) = problems(isolated)
    assert kept.pop("problem").startswith(says)
    assert kept == {"reward": "odd", "example": "a", "completion": text}
    assert isolated.broken == {"odd": 1}
    isolated.close()


@pytest.mark.parametrize(("what", "how", "timeout"), [("hang", "hung", 0.1), ("crash", "crashed", 10.0)])
def test_a_reward_that_always_hangs_or_crashes_ends_the_run_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, how: str, timeout: float
) -> None:
    monkeypatch.setattr(scoring, "MAX_LOST", 2)
    isolated = rewards(tmp_path, timeout)
    with pytest.raises(UserError, match=f"the reward 'odd' {how} on 2 completions in a row"):
        isolated([what] * 5, ["a"] * 5)
    isolated.close()


def test_a_task_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    isolated = rewards(tmp_path)
    (tmp_path / "task.py").write_text("oops", encoding="utf-8")
    with pytest.raises(UserError, match="the process of the rewards didn't start") as caught:
        isolated(["да"], ["a"])
    assert caught.value.exit_code == 14


PARENT = """\
import os, sys, threading, time
from pathlib import Path
from toolkit.training.scoring import IsolatedRewards

folder = Path(sys.argv[1])
isolated = IsolatedRewards(str(folder / "task.py"), folder / "examples.jsonl", ("odd",), folder / "problems.jsonl", 600)
isolated(["fine"], ["a"])


def end():
    time.sleep(1)
    print(isolated._child.process.pid, flush=True)
    os._exit(1)


threading.Thread(target=end, daemon=True).start()
isolated(["run away"], ["a"])
"""


def test_a_reward_that_runs_away_ends_with_its_trainer(tmp_path: Path) -> None:
    """A killed trainer closes nothing; and the regex holds the interpreter, so that no thread of the child runs."""
    rewards(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True, timeout=120
    )
    child, deadline = int(ended.stdout), time.monotonic() + 10
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    if running(child):
        os.kill(child, signal.SIGKILL)
        pytest.fail("it outlived its trainer")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # reaped, before the file was opened or after
        return False


def test_it_is_fast_enough_to_stand_beside_generation(tmp_path: Path) -> None:
    isolated = rewards(tmp_path)
    isolated(["да"], ["a"])
    started = time.perf_counter()
    isolated(["да"] * 500, ["a"] * 500)
    assert time.perf_counter() - started < 60  # 0.1 s on an idle core
    isolated.close()
