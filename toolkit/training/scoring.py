"""Rewards outside the trainer's process: one that hangs, raises or crashes costs its score, never the run."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from rewards.core import ExitCode, UserError

START_TIMEOUT = 120.0  # seconds that loading the task and the examples may take
MAX_LOST = 10  # of one reward in a row; then nobody waits for it, or starts its process, again
PROBLEMS_KEPT = 1000  # lines in the file of problems; all are counted


class IsolatedRewards:
    """A task's rewards in a child process. One score takes at most `timeout` seconds; a broken one is 0 and counted.

    examples: the JSONL file of all that is asked about. names: the rewards wanted. problems: a file that gets a line
    of JSON for each broken score: reward, example, completion, problem.
    """

    def __init__(self, task: str, examples: Path, names: Sequence[str], problems: Path, timeout: float) -> None:
        self.task, self.examples, self.names = task, examples, tuple(names)
        self.problems, self.timeout = problems, timeout
        self.broken: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()  # hangs and crashes in a row
        self._child: _Child | None = None

    def __call__(self, texts: Sequence[str], ids: Sequence[str]) -> list[dict[str, float]]:
        """The scores of each completion by the reward's name.

        Raises UserError when the child can't be started, or when a reward hangs or crashes MAX_LOST times in a row.
        """
        return [self._scores(text, example) for text, example in zip(texts, ids, strict=True)]

    def close(self) -> None:
        """End the child; the next call starts another."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _scores(self, text: str, example: str) -> dict[str, float]:
        scores: dict[str, float] = {}
        while len(scores) < len(self.names):  # once, and once more after each reward that hung or crashed
            for name, answer in self._ask(text, example, self.names[len(scores) :]):
                if isinstance(answer, float):
                    self._lost[name] = 0
                else:
                    self._note(name, example, text, answer)
                scores[name] = answer if isinstance(answer, float) else 0.0
        return scores

    def _ask(self, text: str, example: str, names: Sequence[str]) -> Iterator[tuple[str, float | str]]:
        """(reward, its score or its problem) until one hangs or crashes."""
        if self._child is None:
            self._child = _Child(self.task, self.examples)
        self._child.send({"text": text, "id": example, "rewards": names})
        for name in names:
            try:
                line = self._child.receive(self.timeout)
            except TimeoutError:
                self.close()
                self._lost[name] += 1
                yield name, f"gave no answer within {self.timeout:g} s"
                return
            except EOFError as error:
                self.close()
                self._lost[name] += 1
                yield name, f"crashed its process: {error}"
                return
            answer = json.loads(line)
            yield name, answer["problem"] if isinstance(answer, dict) else float(answer)

    def _note(self, name: str, example: str, text: str, problem: str) -> None:
        self.broken[name] += 1
        if self.broken.total() <= PROBLEMS_KEPT:
            row = {"reward": name, "example": example, "completion": text, "problem": problem}
            with self.problems.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        if self._lost[name] >= MAX_LOST:
            crashed = problem.startswith("crashed")
            wait = "" if crashed else f"; or raise grpo.reward_timeout ({self.timeout:g} s)"
            raise UserError(
                f"the reward {name!r} {'crashed' if crashed else 'hung'} on {MAX_LOST} completions in a row "
                f"({self.problems} has them): mend it, `toolkit rewards lint {self.task}` tries it on long texts{wait}"
            )


class _Child:
    """The process, and a thread that reads its lines: a pipe by itself can't be waited on with a timeout."""

    def __init__(self, task: str, examples: Path) -> None:
        command = [sys.executable, "-P", "-m", "toolkit.training.scoring_worker", task, str(examples)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin: IO[str] = self.process.stdin
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()
        try:
            self.receive(START_TIMEOUT)
        except (TimeoutError, EOFError) as error:
            self.kill()
            raise UserError(
                f"the process of the rewards didn't start ({error}); the stage's log says why", ExitCode.FAILED
            ) from error

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            self.lines.put(line)
        self.lines.put("")

    def send(self, row: dict[str, object]) -> None:
        """A broken pipe is left to `receive`, which knows the exit status."""
        try:
            self.stdin.write(json.dumps(row) + "\n")
            self.stdin.flush()
        except BrokenPipeError:
            pass

    def receive(self, timeout: float) -> str:
        """The next line. Raises TimeoutError, or EOFError when the process has ended."""
        try:
            line = self.lines.get(timeout=timeout)
        except queue.Empty as error:
            raise TimeoutError from error
        if not line:
            raise EOFError(f"exit status {self.process.wait()}")
        return line

    def kill(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
