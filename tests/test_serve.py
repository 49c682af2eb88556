"""The server: loopback without a key, a key that no process list shows, the template of training, Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from eval.trained import TRAINED_FOR
from rewards.core import UserError
from tasks.registry import load_task
from tests.ports import free_port
from toolkit.models import ResolvedModel
from toolkit.serve import Serving, api_key, check_exposure, check_port, command, environment, example, question

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def model(fake_model: Path) -> ResolvedModel:
    (fake_model / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (fake_model / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    return ResolvedModel(fake_model)


def serving(model: ResolvedModel, host: str = "127.0.0.1") -> Serving:
    return Serving(model, "tuned", host, 8000)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_an_open_address_needs_a_key(host: str) -> None:
    with pytest.raises(UserError, match="give it a key"):
        check_exposure(host, None)
    check_exposure(host, "a-good-key")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_loopback_needs_none(host: str) -> None:
    check_exposure(host, None)


def test_the_key_is_in_the_environment_only(
    model: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    (tmp_path / "key").write_text("a-secret-key\n", encoding="utf-8")
    key = api_key(tmp_path / "key")
    assert key == "a-secret-key"
    assert environment(key)["VLLM_API_KEY"] == key
    assert key not in " ".join(command(serving(model)))
    assert key not in example(serving(model), with_key=True)
    assert "$VLLM_API_KEY" in example(serving(model), with_key=True)
    assert "VLLM_API_KEY" not in environment(None)


@pytest.mark.parametrize("text", ["", "short", "two words here", "\n"])
def test_a_useless_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="8 or more characters"):
        api_key(tmp_path / "key")


def test_a_missing_key_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"can't be read: No such file or directory$"):
        api_key(tmp_path / "gone")


def test_the_template_is_the_models(model: ResolvedModel) -> None:
    line = command(serving(model))
    assert line[line.index("--chat-template") + 1] == str(model.path / "chat_template.jinja")
    assert line[line.index("--served-model-name") + 1] == "tuned"
    assert line[line.index("--host") + 1] == "127.0.0.1"
    assert "--trust-remote-code" not in line


def test_an_adapter_brings_its_template_and_its_name(model: ResolvedModel, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 24}', encoding="utf-8")
    (adapter / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (adapter / "chat_template.jinja").write_text("other", encoding="utf-8")
    line = command(serving(ResolvedModel(model.path, adapter)))
    assert line[line.index("--chat-template") + 1] == str(adapter / "chat_template.jinja")
    assert line[line.index("--max-lora-rank") + 1] == "32"
    assert json.loads(line[line.index("--lora-modules") + 1]) == {"name": "tuned", "path": str(adapter)}
    assert line[line.index("--served-model-name") + 1] == "tuned-base"


def test_a_model_without_a_template_is_refused(fake_model: Path) -> None:
    with pytest.raises(UserError, match="no chat template"):
        command(serving(ResolvedModel(fake_model)))


@pytest.mark.parametrize("task", ["datetime_extraction_plain", "order_extraction"])
def test_the_example_is_the_tasks_own_question(model: ResolvedModel, task: str) -> None:
    (model.path / TRAINED_FOR).write_text(f'{{"task": "{task}"}}', encoding="utf-8")
    words = shlex.split(example(serving(model), with_key=False).replace("\\\n", " "))
    assert words[:2] == ["curl", "http://127.0.0.1:8000/v1/chat/completions"]
    body = json.loads(words[words.index("-d") + 1])
    assert body["messages"] == list(next(load_task(task).examples("test", 1, 0)).messages)


@pytest.mark.parametrize("failure", ["open('/gone.csv')", "[][0]", "raise SystemExit(3)", "return"])
def test_a_task_that_fails_here_leaves_the_server_a_question(
    model: ResolvedModel, task_file: Path, failure: str
) -> None:
    code = task_file.read_text(encoding="utf-8").replace("    for i in", f"    {failure}\n    for i in")
    task_file.write_text(code, encoding="utf-8")
    (model.path / TRAINED_FOR).write_text(json.dumps({"task": str(task_file)}), encoding="utf-8")
    assert question(model) == [{"role": "user", "content": "Послезавтра в 12"}]


def test_an_address_of_ipv6_is_bracketed(model: ResolvedModel) -> None:
    assert serving(model, "::1").url == "http://[::1]:8000"
    assert serving(model, "0.0.0.0").url == "http://127.0.0.1:8000"


@pytest.mark.slow
def test_it_serves_and_ends_on_ctrl_c(smollm2_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    port = free_port()
    key = "test-key-0123456789"
    (tmp_path / "key").write_text(key, encoding="utf-8")
    # A shell starts background jobs with Ctrl-C ignored, and what they start inherits that: this test's run as well.
    line = ["env", "--default-signal=INT"]
    line += [sys.executable, "-m", "toolkit.cli", "serve", str(smollm2_dir), "--port", str(port), "--name", "smol"]
    line += ["--api-key-file", str(tmp_path / "key"), "--max-model-len", "256", "--dtype", "float32"]
    places = {"TOOLKIT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env={**os.environ, **places})
    try:
        assert server.stderr is not None
        said = []
        for each in server.stderr:
            said.append(each)
            if "curl" in each:
                break
        assert any("serving smol" in each for each in said), said
        assert key not in "".join(said)
        assert key not in Path(f"/proc/{server.pid}/cmdline").read_text(encoding="utf-8")
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        turns = [{"role": "user", "content": "What is the capital of France?"}]
        body = json.dumps({"model": "smol", "messages": turns, "temperature": 0, "max_tokens": 24}).encode()
        headers = {"Content-Type": "application/json"}
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, body, headers))
        assert refused.value.code == 401
        headers["Authorization"] = f"Bearer {key}"
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as reply:
            choice = json.load(reply)["choices"][0]
        # what the transformers engine says to the same prompt ids (test_eval_real)
        assert (choice["message"]["content"], choice["finish_reason"]) == ("The capital of France is Paris.", "stop")
        server.send_signal(signal.SIGINT)
        assert server.wait(240) == 0  # seconds; vLLM ends slowly on a busy machine
        assert key not in (tmp_path / "cache" / f"serve-{port}.log").read_text(encoding="utf-8", errors="replace")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


# vLLM's stand-in: a server with an engine process, which ends by no word. Each says its number in the log.
STAND_IN = """
import fcntl, os, signal, sys, termios
from pathlib import Path
from toolkit import serve
from toolkit.models import ResolvedModel

tree = '''
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN if "stubborn" in sys.argv else signal.SIG_DFL)
if not os.fork():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
print(os.getpid(), "Bearer test-key-0123456789", flush=True)
time.sleep(120)
'''
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the terminal whose Ctrl-C, and whose end, this session hears of
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background inherits that it is ignored
signal.signal(signal.SIGHUP, signal.SIG_IGN if "nohup" in sys.argv else signal.SIG_DFL)
serve.check_engine = lambda name: None
serve.command = lambda serving: [sys.executable, "-c", tree, *sys.argv[2:]]
serve.END_SECONDS = 1
serve.serve(serve.Serving(ResolvedModel(Path(".")), "x", "127.0.0.1", int(sys.argv[1])), None, lambda text: None)
"""


@contextmanager
def stand_in(folder: Path, *how: str, terminal: int | None = None) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`toolkit serve` over the stand-in, both of whose processes run, and the log."""
    port = free_port()
    log = folder / f"serve-{port}.log"
    env = {**os.environ, "TOOLKIT_CACHE": str(folder), "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", STAND_IN, str(port), *how]
    toolkit = subprocess.Popen(
        line, env=env, stdin=terminal or subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not (log.is_file() and log.read_text(encoding="utf-8").count("\n") == 2):
            assert toolkit.poll() is None
            time.sleep(0.05)
        yield toolkit, log
    finally:
        toolkit.kill()
        toolkit.wait()
        for process in numbers(log):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def numbers(log: Path) -> list[int]:
    return [int(line.split()[0]) for line in log.read_text(encoding="utf-8").splitlines()]


def gone(process: int) -> bool:
    """Whether it has ended; its zombie counts as such, whoever is to take it."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def ended(processes: list[int]) -> bool:
    """Whether all have, or do so within seconds."""
    deadline = time.monotonic() + 10
    while not all(map(gone, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("how", ["obedient", "stubborn"])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 0)], ids=lambda each: str(each)
)
def test_a_signal_ends_the_server_and_its_engine(tmp_path: Path, how: str, number: signal.Signals, status: int) -> None:
    """A service manager's stop, a closed terminal: else vLLM's engine would keep the GPU, and the log its secrets."""
    with stand_in(tmp_path, how) as (toolkit, log):
        started = numbers(log)
        toolkit.send_signal(number)
        assert toolkit.wait(60) == status
        assert ended(started)
        assert "test-key-0123456789" not in log.read_text(encoding="utf-8")


def test_a_second_ctrl_c_doesnt_wait(tmp_path: Path) -> None:
    with stand_in(tmp_path, "stubborn") as (toolkit, log):
        started = numbers(log)
        toolkit.send_signal(signal.SIGINT)
        time.sleep(0.3)
        toolkit.send_signal(signal.SIGINT)
        toolkit.wait(60)
        assert ended(started)
        assert "test-key-0123456789" not in log.read_text(encoding="utf-8")


def test_what_the_server_leaves_behind_ends_too(tmp_path: Path) -> None:
    """It crashed; its engine didn't."""
    with stand_in(tmp_path, "obedient") as (toolkit, log):
        started = numbers(log)
        os.kill(next(each for each in started if os.getpgid(each) == each), signal.SIGKILL)
        assert toolkit.wait(60) == 1
        assert ended(started)


@pytest.mark.parametrize(("act", "status"), [("ctrl-c", 0), ("close", 129)])
def test_a_terminal_ends_the_server_and_its_engine(tmp_path: Path, act: str, status: int) -> None:
    """The server has a session of its own, to which the terminal says nothing."""
    ours, terminal = os.openpty()
    with stand_in(tmp_path, "obedient", terminal=terminal) as (toolkit, log):
        started = numbers(log)
        os.close(terminal)
        if act == "ctrl-c":
            os.write(ours, b"\x03")
        else:
            os.close(ours)
        assert toolkit.wait(60) == status
        assert ended(started)
    if act == "ctrl-c":
        os.close(ours)


def test_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    with stand_in(tmp_path, "nohup") as (toolkit, log):
        toolkit.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert toolkit.poll() is None
        assert not any(map(gone, numbers(log)))


def test_a_port_that_is_taken_is_refused(model: ResolvedModel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: .*in use; choose another --port"):
            check_port(replace(serving(model), port=port))
    check_port(replace(serving(model), port=free_port()))
