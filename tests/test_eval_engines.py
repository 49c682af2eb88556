"""The server engine against a local HTTP server, and prompts with a tokenizer of words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval.engines import server
from eval.engines.base import Completion, ModelSpec, Request, Sampling, sample_seed
from eval.prompts import decode, prompt_hash, render_prompt, stop_token_ids, template_hash, tokenizer_dir
from rewards.core import Message, UserError

USER: Message = {"role": "user", "content": "x"}
REQUESTS = [Request(f"r{i}", (5, 6, 7 + i), (USER,)) for i in range(3)]
SAMPLING = Sampling(max_tokens=4, temperature=0.7, top_p=0.9, n=2, seed=3, stop_token_ids=(2,))


@pytest.fixture
def endpoint() -> Iterator[SimpleNamespace]:
    """An OpenAI-compatible server: fails each request's first try with 503, refuses prompts of token 99."""
    pytest.importorskip("openai")
    seen = SimpleNamespace(
        bodies=[], tried=set(), key="none", url="", odd=None, owes=0, tries=0, always=0, busy=0, most=0
    )
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def reply(self, status: int, body: dict[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Retry-After-Ms", "1")
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            if seen.odd == "a page":
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<html>hello</html>")
                return None
            if self.headers["Authorization"] != f"Bearer {seen.key}":
                return self.reply(401, {"error": {"message": "bad key"}})
            return self.reply(200, {"object": "list", "data": [{"id": "small", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                seen.tries, seen.busy = seen.tries + 1, seen.busy + 1
                seen.most = max(seen.most, seen.busy)
            time.sleep(0.01 + seen.owes)
            with lock:
                seen.busy -= 1
            if seen.always:
                return self.reply(seen.always, {"error": {"message": "for ever"}})
            if body["seed"] not in seen.tried:
                seen.tried.add(body["seed"])
                return self.reply(503, {"error": {"message": "busy"}})
            seen.bodies.append(body)
            if seen.odd is not None:
                return self.reply(200, seen.odd)
            usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
            if self.path.endswith("/chat/completions"):
                message = {"role": "assistant", "content": f"chat {body['messages'][0]['content']}"}
                said = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
                return self.reply(200, {"id": "1", "object": "chat.completion", "choices": [said], "usage": usage})
            if 99 in body["prompt"]:
                return self.reply(400, {"error": {"message": "too long"}})
            choice = {"index": 0, "text": f"seed {body['seed']}", "finish_reason": "length", "logprobs": None}
            return self.reply(200, {"id": "1", "object": "text_completion", "choices": [choice], "usage": usage})

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    seen.url = f"http://127.0.0.1:{service.server_port}/v1"
    yield seen
    service.shutdown()
    service.server_close()


def test_server_sends_token_ids_and_everything_written_out(endpoint: SimpleNamespace, tmp_path: Path) -> None:
    engine = server.load(ModelSpec(tmp_path, None, "small"), {"base_url": endpoint.url, "concurrency": 2})
    requests = [*REQUESTS, Request("long", (99,), (USER,))]
    found = {(each.request_id, each.index): each for each in engine.generate(requests, SAMPLING)}
    engine.close()
    assert len(found) == 8
    assert found["r1", 1] == Completion("r1", 1, f"seed {sample_seed(SAMPLING, 'r1', 1)}", "length", 4)
    assert found["long", 0].finish_reason == "error"
    assert "too long" in found["long", 0].text
    body = next(body for body in endpoint.bodies if body["prompt"] == [5, 6, 7])
    assert {key: body[key] for key in ("model", "max_tokens", "temperature", "top_p", "n", "stop_token_ids")} == {
        "model": "small",
        "max_tokens": 4,
        "temperature": 0.7,
        "top_p": 0.9,
        "n": 1,
        "stop_token_ids": [2],
    }


def test_server_troubles_are_one_line_each(
    endpoint: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="serves no model 'large'; it serves: small"):
        server.load(ModelSpec(tmp_path, None, "large"), {"base_url": endpoint.url})
    with pytest.raises(UserError, match="serve it"):
        server.load(ModelSpec(tmp_path, tmp_path, "small"), {"base_url": endpoint.url})
    monkeypatch.setenv("MY_KEY", "wrong")
    with pytest.raises(UserError, match="refuses the API key"):
        server.load(ModelSpec(tmp_path, None, "small"), {"base_url": endpoint.url, "api_key_env": "MY_KEY"})
    with pytest.raises(UserError, match="can't be reached") as caught:
        server.load(ModelSpec(tmp_path, None, "small"), {"base_url": "http://127.0.0.1:9/v1", "retries": 0})
    assert caught.value.exit_code == 14


def test_server_keeps_to_its_concurrency(endpoint: SimpleNamespace, tmp_path: Path) -> None:
    engine = server.load(ModelSpec(tmp_path, None, "small"), {"base_url": endpoint.url, "concurrency": 3})
    requests = [Request(f"r{i}", (5, i), (USER,)) for i in range(12)]
    assert len(list(engine.generate(requests, Sampling(4)))) == 12
    engine.close()
    assert 1 < endpoint.most <= 3


@pytest.mark.parametrize("status", [429, 500])
def test_server_that_keeps_failing_is_an_error_of_the_sample(
    endpoint: SimpleNamespace, tmp_path: Path, status: int
) -> None:
    endpoint.always = status
    engine = server.load(ModelSpec(tmp_path, None, "small"), {"base_url": endpoint.url, "retries": 2})
    (found,) = engine.generate(REQUESTS[:1], Sampling(4))
    engine.close()
    assert (found.finish_reason, found.tokens) == ("error", 0)
    assert found.text.startswith("the server failed 3 times: ")
    assert endpoint.tries == 3


def test_server_chat_sends_messages_only_when_asked(endpoint: SimpleNamespace, tmp_path: Path) -> None:
    model = ModelSpec(tmp_path, None, "small")
    engine = server.load(model, {"base_url": endpoint.url, "api": "chat"})
    (found,) = engine.generate(REQUESTS[:1], Sampling(4))
    engine.close()
    assert found == Completion("r0", 0, "chat x", "stop", 4)
    assert "prompt" not in endpoint.bodies[0]
    with pytest.raises(UserError, match="choose completions or chat"):
        server.load(model, {"base_url": endpoint.url, "api": "responses"})


class Words:
    """A tokenizer of four words; its template closes every turn with <end>, token 2, which isn't its eos."""

    def __init__(self, template: str | None = "words", eos: int | None = 1) -> None:
        self.chat_template: str | dict[str, str] | None = template
        self.bos_token_id: int | None = 0
        self.eos_token_id = eos
        self.pad_token_id: int | None = None
        self.added_tokens_decoder = {1: SimpleNamespace(special=True), 2: SimpleNamespace(special=True)}

    def apply_chat_template(self, conversation: list[list[Message]], **kwargs: Any) -> list[list[int]]:
        assert kwargs["tokenize"] is True
        assert kwargs["return_dict"] is False
        return [self.ids_of(turns) + [4] * kwargs["add_generation_prompt"] for turns in conversation]

    def ids_of(self, turns: list[Message]) -> list[int]:
        ids = [0]
        for turn in turns:
            ids += [3 if turn["role"] == "user" else 4, 10 + len(turn["content"]), 2]
        return ids

    def decode(self, token_ids: list[int], **kwargs: Any) -> str:
        assert kwargs["clean_up_tokenization_spaces"] is False
        return " ".join(str(token) for token in token_ids if not (kwargs["skip_special_tokens"] and token < 3))


def test_prompt_is_the_templates_ids() -> None:
    assert render_prompt(Words(), [USER]) == [0, 3, 11, 2, 4]


def test_a_missing_template_says_what_to_do() -> None:
    for ask in (lambda: render_prompt(Words(None), [USER]), lambda: template_hash(Words(None))):
        with pytest.raises(UserError, match=r"put a chat_template.jinja"):
            ask()


def test_hashes_are_short_and_tell_prompts_apart() -> None:
    assert len(prompt_hash([1, 23])) == 12
    assert prompt_hash([1, 23]) != prompt_hash([12, 3])
    assert template_hash(Words("a")) != template_hash(Words("b"))


def test_stop_tokens_are_gathered_from_everywhere(tmp_path: Path) -> None:
    assert stop_token_ids(Words(), tmp_path) == (1, 2)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 1]}', encoding="utf-8")
    (tmp_path / "config.json").write_text('{"eos_token_id": 8}', encoding="utf-8")
    assert stop_token_ids(Words(), tmp_path) == (1, 2, 7, 8)
    nothing = Words(eos=None)
    nothing.added_tokens_decoder = {}
    with pytest.raises(UserError, match="no end token"):
        stop_token_ids(nothing, tmp_path / "empty")


def test_decoding_trims_the_end_and_skips_special_tokens() -> None:
    assert decode(Words(), [11, 1, 12, 7, 2], {2, 7}) == "11 12"


def test_the_adapters_tokenizer_wins(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    model = ModelSpec(tmp_path, adapter, "m")
    assert tokenizer_dir(model) == tmp_path
    (adapter / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    assert tokenizer_dir(model) == adapter


def choice(**changes: Any) -> dict[str, Any]:
    said = {"index": 0, "text": "half an", "finish_reason": "stop", "logprobs": None, **changes}
    return {"id": "1", "object": "text_completion", "choices": [said]}


@pytest.mark.parametrize(
    ("odd", "reason", "says"),
    [
        ({"choices": None, "error": {"message": "overloaded"}}, "error", "the server's reply holds no choices"),
        ({"choices": []}, "error", "the server's reply holds no choices"),
        (choice(finish_reason="content_filter"), "error", "the server ended it: content_filter, after 'half an'"),
        (choice(finish_reason="abort"), "error", "the server ended it: abort, after 'half an'"),
        (choice(finish_reason=None), "stop", "half an"),
        (choice(), "stop", "half an"),
    ],
)
def test_server_that_replies_oddly(
    endpoint: SimpleNamespace, tmp_path: Path, odd: dict[str, Any], reason: str, says: str
) -> None:
    endpoint.odd = odd
    engine = server.load(ModelSpec(tmp_path, None, "small"), {"base_url": endpoint.url})
    (found,) = engine.generate(REQUESTS[:1], Sampling(4))
    engine.close()
    assert found.finish_reason == reason
    assert found.text.startswith(says)


def test_a_web_page_is_no_server(endpoint: SimpleNamespace, tmp_path: Path) -> None:
    endpoint.odd = "a page"
    with pytest.raises(UserError, match="not as an OpenAI server does") as caught:
        server.load(ModelSpec(tmp_path, None, "small"), {"base_url": endpoint.url})
    assert caught.value.exit_code == 14


ASKS = """
import os, signal, sys, threading
from pathlib import Path
from eval.engines import server
from eval.engines.base import ModelSpec, Request, Sampling
engine = server.load(ModelSpec(Path("."), None, "small"), {"base_url": sys.argv[1]})
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background inherits that it is ignored
threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
list(engine.generate([Request("r", (5,), ())], Sampling(4)))
"""


def test_ctrl_c_doesnt_wait_for_what_the_server_still_owes(endpoint: SimpleNamespace) -> None:
    endpoint.owes = 300
    line = [sys.executable, "-c", ASKS, endpoint.url]
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(line, env={**os.environ, "PYTHONPATH": root}, capture_output=True, timeout=60, text=True)
    assert "KeyboardInterrupt" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retries": "x"}, "option retries of engine 'server': want a whole number of at least 0, got 'x'"),
        ({"concurrency": 0}, "want a whole number of at least 1, got 0"),
        ({"timeout": "10s"}, "want a number of at least 0, got '10s'"),
        ({"concurrency": True}, "want a whole number"),
    ],
)
def test_an_option_of_another_type_is_named(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        server.load(ModelSpec(tmp_path, None, "small"), options)
