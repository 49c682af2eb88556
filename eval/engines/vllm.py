"""vLLM in a process of its own: the parent's side.

The child (vllm_worker.py) frees all memory by ending, which vLLM can't do otherwise; its output goes to a log file; and
a crash in it, even a segmentation fault, becomes one readable line here. The two talk in lines of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import IO, Any, NoReturn

from eval.engines.base import Completion, ModelSpec, Request, Sampling, engine_options, sample_seed
from eval.prompts import tokenizer_dir
from rewards.core import UserError

DEFAULTS: dict[str, Any] = {
    "log_file": None,  # default: vllm-<pid>.log in the temporary directory
    "dtype": "auto",
    "enforce_eager": None,  # default: only on CPU, where compiling takes a minute and gains 6%
    "max_model_len": None,
    "max_num_seqs": None,
    "gpu_memory_utilization": 0.9,
    "tensor_parallel_size": 1,
}
# How the child is set up, unless the environment says otherwise.
CHILD_ENV = {
    # the engine core in the child itself, not in a grandchild: deterministic scheduling, one process to end
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; only the CPU backend reads it (its own default: half of the memory)
    # CPU threads that spin while they wait make it ten times slower as soon as another process wants a core
    "OMP_WAIT_POLICY": "PASSIVE",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # vLLM sizes its adapter slots in these steps
ENGINE_FAILED = 14


@dataclass(slots=True)
class Vllm:
    """A running child. Its stdin takes one line a call of `generate`, its stdout gives one line a completion."""

    process: subprocess.Popen[str]
    log_file: Path

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """Everything is submitted at once; completions come as they finish. Leaving the loop early ends the engine."""
        rows = [
            {
                "id": request.id,
                "index": index,
                "ids": request.prompt_ids,
                "seed": sample_seed(sampling, request.id, index),
            }
            for request in requests
            for index in range(sampling.n)
        ]
        finished = False
        try:
            self._send({"rows": rows, "sampling": asdict(sampling)})
            for _ in rows:
                row = self._receive()
                yield Completion(row["id"], row["index"], row["text"], row["finish_reason"], row["tokens"])
            finished = True
        finally:
            if not finished:
                self._kill()

    def _send(self, message: Mapping[str, Any]) -> None:
        stdin = _pipe(self.process.stdin)
        try:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
        except (BrokenPipeError, ValueError):
            self._fail("its process has ended")

    def _receive(self) -> dict[str, Any]:
        line = _pipe(self.process.stdout).readline()
        if not line.endswith("\n"):
            self._fail(f"its process ended with status {self.process.wait()}: {last_reason(self.log_file)}")
        message: dict[str, Any] = json.loads(line)
        if "failed" in message:
            self._fail(message["failed"])
        return message

    def _fail(self, reason: str) -> NoReturn:
        self.close()
        raise UserError(f"vLLM failed: {reason} (its log: {self.log_file})", ENGINE_FAILED)

    def close(self) -> None:
        """End the child and what it started: first by closing its stdin, then, after 10 s, by a signal."""
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):  # a half-written request to a child that is gone
                _pipe(pipe).close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._kill()

    def _kill(self) -> None:
        """For a child that is busy with what nobody waits for any more."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # both are opened with PIPE
    return stream


def last_reason(log_file: Path) -> str:
    """The last line of a log that looks like an error, else its last line."""
    lines = [line.strip() for line in log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]]
    lines = [line for line in lines if line]
    named = [line for line in lines if "Error" in line or "Killed" in line]
    return (named or lines or ["the log is empty"])[-1][:500]


def max_lora_rank(adapter: Path) -> int:
    """The smallest slot that vLLM has for the adapter's rank. Raises UserError without an adapter_config.json."""
    path = adapter / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        rank = max(config["r"], *config.get("rank_pattern", {}).values(), 1)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{adapter}: not a PEFT adapter ({path.name}: {error})") from error
    for slot in LORA_RANKS:
        if rank <= slot:
            return slot
    raise UserError(f"{adapter}: vLLM takes LoRA ranks up to {LORA_RANKS[-1]}, this one has {rank}: merge it first")


def load(model: ModelSpec, options: Mapping[str, Any]) -> Vllm:
    """Start the child and wait until the model is loaded (on a GPU, a minute). Options: see DEFAULTS.

    Raises UserError for a directory without a model, and with exit code 14 when vLLM can't start.
    """
    chosen = engine_options("vllm", DEFAULTS, options)
    if not (model.path / "config.json").is_file():
        raise UserError(f"{model.path}: no config.json there; give the directory of a full model")
    log_file = Path(chosen.pop("log_file") or Path(gettempdir()) / f"vllm-{os.getpid()}.log")
    engine = {key: value for key, value in chosen.items() if value is not None}
    if model.adapter is not None:
        engine |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": max_lora_rank(model.adapter)}
    setup = {
        "engine": {"model": str(model.path), "tokenizer": str(tokenizer_dir(model)), **engine},
        "adapter": None if model.adapter is None else str(model.adapter.resolve()),
    }
    log_file.parent.mkdir(parents=True, exist_ok=True)
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with log_file.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            # -P: nothing in the working directory may pass for a package of ours or of vLLM's
            [sys.executable, "-P", "-m", "eval.engines.vllm_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env={**CHILD_ENV, **os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C reaches the parent, which ends the child in order
        )
    running = Vllm(process, log_file)
    try:
        running._send(setup)
        running._receive()
    except BaseException:  # Ctrl-C too: the child is in a session of its own and wouldn't notice
        running._kill()
        raise
    return running
