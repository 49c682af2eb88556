"""One vLLM process, seen from the parent: started, talked to in lines of JSON, ended.

The child (vllm_worker.py) frees all memory by ending, which vLLM can't do otherwise; its output goes to a log file; and
a crash in it, even a segmentation fault, becomes one readable line here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NoReturn

from rewards.core import ExitCode, UserError

# How a child is set up, unless the environment says otherwise.
CHILD_ENV = {
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; only the CPU backend reads it (its own default: half of the memory)
    # CPU threads that spin while they wait make it ten times slower as soon as another process wants a core
    "OMP_WAIT_POLICY": "PASSIVE",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(slots=True)
class Child:
    """A running child: lines in for a job, a line out for each step that finished something."""

    process: subprocess.Popen[str]
    log_file: Path
    sockets: TemporaryDirectory[str]  # vLLM removes none of those between its own processes
    ended: bool = False

    def send(self, *messages: Any) -> None:
        """A line to the child for each, which it reads while we write the next. Raises UserError when it has ended."""
        stdin = _pipe(self.process.stdin)
        try:
            for message in messages:
                stdin.write(json.dumps(message, separators=(",", ":")) + "\n")
            stdin.flush()
        except (BrokenPipeError, ValueError):
            self._fail("its process has ended")

    def receive(self) -> Any:
        """The child's next line. Raises UserError, with exit code 14, when it failed or has ended."""
        line = _pipe(self.process.stdout).readline()
        if not line.endswith("\n"):
            self._fail(f"its process ended with status {self.process.wait()}: {last_reason(self.log_file)}")
        try:
            message = json.loads(line)
        except ValueError:
            self._fail(f"it answered {line[:80]!r}")
        if isinstance(message, dict) and "refused" in message:
            raise UserError(message["refused"])
        if isinstance(message, dict) and "failed" in message:
            self._fail(message["failed"])
        return message

    def _fail(self, reason: str) -> NoReturn:
        raise UserError(f"vLLM failed: {reason} (its log: {self.log_file})", ExitCode.FAILED)

    def close(self) -> None:
        """End the child and what it started: first by closing its stdin, then, after 10 s, by a signal."""
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):  # a half-written request to a child that is gone
                _pipe(pipe).close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)
        self.kill()

    def kill(self) -> None:
        """End the child and what it started at once; of a child that has ended, what it left behind."""
        if self.ended:  # its number may be another's by now
            return
        self.ended = True
        with suppress(ProcessLookupError):  # nothing is left
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.sockets.cleanup()


def start_child(environment: Mapping[str, str], log_file: Path) -> Child:
    """Start a child; it waits for its setup. environment comes on top of ours."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    sockets = TemporaryDirectory(prefix="vllm-", ignore_cleanup_errors=True)
    with log_file.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            # -P: nothing in the working directory may pass for a package of ours or of vLLM's
            [sys.executable, "-P", "-m", "eval.engines.vllm_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env={**CHILD_ENV, "VLLM_RPC_BASE_PATH": sockets.name, **os.environ, **environment, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C reaches the parent, which ends the child in order
        )
    return Child(process, log_file, sockets)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # both are opened with PIPE
    return stream


def last_reason(log_file: Path) -> str:
    """The last line of a log that looks like an error, else its last line."""
    try:
        text = log_file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"no log ({error.strerror})"
    lines = [line.strip() for line in text.splitlines()[-200:]]
    lines = [line for line in lines if line]
    named = [line for line in lines if "Error" in line or "Killed" in line]
    return (named or lines or ["the log is empty"])[-1][:500]
