"""Arms of a benchmark that stay loaded, each in a process of its own, and answer in turn, a round at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from eval.files import write_atomically

Round = Callable[[int], dict[str, Any]]
ENDS_IN = 30.0  # seconds that an arm has to end by itself, once it isn't asked any more


@contextmanager
def started(name: str, command: Sequence[str], work: Path, environment: Mapping[str, str]) -> Iterator[Round]:
    """Run a command that calls `serve`, and wait until it has loaded: a call with a round's number gives its figures,
    "loading" (in seconds) among them. Its output goes to work/NAME.log. Raises SystemExit when it ends before.
    """
    for old in work.glob(f"{name}-*.json"):
        old.unlink()
    log = work / f"{name}.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
        )
    stdin = process.stdin
    assert stdin is not None  # opened with PIPE

    def wait(what: str) -> dict[str, Any]:
        path = work / f"{name}-{what}.json"
        while not path.exists():
            if process.poll() is not None:
                raise SystemExit(f"arm {name} ended with {process.returncode}; its log: {log}")
            time.sleep(0.05)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def answered(number: int) -> dict[str, Any]:
        with suppress(BrokenPipeError):  # wait says why
            stdin.write(f"{number}\n".encode())
            stdin.flush()
        return {**wait(str(number)), **loaded}

    try:
        loaded = wait("loaded")
        yield answered
        stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(ENDS_IN)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
        process.wait()


def serve(name: str, work: Path, arm: AbstractContextManager[Round]) -> None:
    """An arm's side: load, then answer a round for each number on stdin."""
    began = time.perf_counter()
    with arm as answered:
        write_atomically(work / f"{name}-loaded.json", json.dumps({"loading": time.perf_counter() - began}))
        for line in sys.stdin:
            write_atomically(work / f"{name}-{line.strip()}.json", json.dumps(answered(int(line))))
