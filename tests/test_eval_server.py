"""Whole evaluations through a local server: which model it was, what it replied, what it was told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval import runner
from eval.compare import compare
from eval.engines import server
from eval.engines.base import Completion, ModelSpec, Request, Sampling
from eval.manifest import MANIFEST, AnotherEvaluation
from eval.noise import measure_noise
from eval.records import RECORDS, Record, read_records, score
from eval.runner import evaluate
from eval.summary import Summary
from rewards.core import Example, Message, UserError
from rewards.response import parse, render
from tasks.base import Task

EXAMPLES = [Example(f"e{i}", ({"role": "user", "content": "?" * (i + 1)},), ("1",)) for i in range(4)]
Reply = Callable[[dict[str, Any], str], tuple[int, Any]]


def exact(completion: str, example: Example) -> float:
    return float(parse(completion).answer in example.answers)


TASK = Task("ones", "1", lambda split, n, seed: iter(EXAMPLES), {"exact": (exact, 1.0)}, exact)


class Counting:
    """A tokenizer whose prompt is the length of its last turn."""

    chat_template = "turns"
    bos_token_id, eos_token_id, pad_token_id = None, 1, 1
    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012

    def apply_chat_template(self, conversation: list[list[Message]], **kwargs: Any) -> list[list[int]]:
        return [[10 + len(turns[-1]["content"])] for turns in conversation]


def said(answer: str = "1", **changes: Any) -> dict[str, Any]:
    """What a server replies that answers so."""
    choice = {"index": 0, "text": render("", answer), "finish_reason": "stop", **changes}
    usage = {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}
    return {"id": "1", "object": "text_completion", "choices": [choice], "usage": usage}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A server of two models, base and tuned, which answer 1 and 2; its reply(request, authorization) can be set."""
    pytest.importorskip("openai")
    monkeypatch.setattr(runner, "load_tokenizer", lambda directory: Counting())

    def of_the_model(request: dict[str, Any], authorization: str) -> tuple[int, Any]:
        return 200, said("1" if request["model"] == "base" else "2")

    seen = SimpleNamespace(reply=of_the_model, asked=0, url="")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def answer(self, status: int, body: Any) -> None:
            text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self.answer(
                200, {"object": "list", "data": [{"id": name, "object": "model"} for name in ("base", "tuned")]}
            )

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.asked += 1
            self.answer(*seen.reply(request, self.headers["Authorization"]))

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
    seen.url = f"http://127.0.0.1:{service.server_port}/v1"
    yield seen
    service.shutdown()
    service.server_close()


def run(endpoint: SimpleNamespace, fake_model: Path, out: Path, name: str = "base", **options: Any) -> Summary:
    return evaluate(
        TASK,
        EXAMPLES,
        split="test",
        seed=0,
        model=ModelSpec(fake_model, None, name),
        engine="server",
        sampling=Sampling(9),
        out_dir=out,
        options={"base_url": endpoint.url, "retries": 0, "concurrency": 1, **options},
        progress=False,
        cache=out.parent / "cache.sqlite3",
    )


def records(out: Path) -> list[Record]:
    return read_records(out / RECORDS)


def as_of_old(out: Path) -> None:
    """Take out of the manifest what older ones lack."""
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    del manifest["identity"]["served"]
    (out / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("old", [False, True])
def test_two_served_models_are_two(endpoint: SimpleNamespace, fake_model: Path, tmp_path: Path, old: bool) -> None:
    """Both are asked with the prompts of one directory; the name is all that tells them apart."""
    first, other = tmp_path / "first", tmp_path / "other"
    assert run(endpoint, fake_model, first).overall.exact.value == 1
    assert run(endpoint, fake_model, other, "tuned").overall.exact.value == 0
    assert run(endpoint, fake_model, tmp_path / "again").completions == 4, "nothing is taken from a cache"
    if old:
        for each in (first, other):
            as_of_old(each)
    with pytest.raises(AnotherEvaluation, match="it differs in served: 'base' there, 'tuned' here"):
        run(endpoint, fake_model, first, "tuned")
    assert run(endpoint, fake_model, first).completions == 0
    with pytest.raises(UserError, match="not two evaluations of one model: served: 'base' and 'tuned'"):
        measure_noise(first, other)
    assert measure_noise(first, tmp_path / "again").flips == 0
    assert compare(first, other).verdict != "not comparable"


def chat_reply(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": "stop", **message}]}


@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, {"error": {"message": "too\nlong"}}, "the server refused the request: Error code: 400"),
        (413, {"error": {"message": "too large"}}, "the server refused the request: Error code: 413"),
        (422, {"error": "inputs must have less than 8 tokens"}, "the server refused the request: Error code: 422"),
        (408, {"error": {"message": "slow"}}, "the server failed 1 times: Error code: 408"),
        (409, {"error": {"message": "locked"}}, "the server failed 1 times: Error code: 409"),
        (502, "<html>gateway</html>", "the server failed 1 times: "),
        (200, '{"id":', "the server's reply can't be read: JSONDecodeError"),
        (200, [1], "the server's reply "),
        (200, "5", "the server's reply "),
        (200, {"choices": "x"}, "the server's reply can't be read: "),
        (200, {"choices": {"a": 1}}, "the server's reply can't be read: "),
        (200, {"choices": [None]}, "the server's reply can't be read: "),
        (200, chat_reply(), "the server's reply "),
        (200, chat_reply(text=None, message=None), "the server's reply "),
        (200, chat_reply(text=5, message={"content": 5}), "the server's reply holds no text: "),
    ],
)
def test_one_odd_reply_is_one_samples_error(
    endpoint: SimpleNamespace, fake_model: Path, tmp_path: Path, api: str, status: int, body: Any, says: str
) -> None:
    good = said() if api == "completions" else chat_reply(message={"role": "assistant", "content": render("", "1")})
    endpoint.reply = lambda request, key: (status, body) if endpoint.asked == 2 else (200, good)
    summary = run(endpoint, fake_model, tmp_path / "out", api=api)
    (failed,) = [record for record in records(tmp_path / "out") if record.status == "error"]
    assert failed.problem is not None
    assert failed.problem.startswith(says)
    assert "\n" not in failed.problem
    assert summary.overall.statuses["right"] == 3
    assert run(endpoint, fake_model, tmp_path / "out", api=api).completions == 1, "the next run asks it again"


def test_a_server_that_refuses_all_is_a_failure(endpoint: SimpleNamespace, fake_model: Path, tmp_path: Path) -> None:
    endpoint.reply = lambda request, key: (422, {"error": "no"})
    with pytest.raises(
        UserError, match="the engine answered nothing; it said: the server refused the request"
    ) as caught:
        run(endpoint, fake_model, tmp_path / "out")
    assert caught.value.exit_code == 14
    endpoint.reply, endpoint.asked = lambda request, key: (404, {"error": "no such model"}), 0
    with pytest.raises(UserError, match=r"no model 'base' or no such endpoint \(404\)"):
        run(endpoint, fake_model, tmp_path / "gone")
    assert endpoint.asked < 3, "one that has no such model is asked no more"


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 3}, {"completion_tokens": None}, "none", [1]])
def test_a_server_may_count_no_tokens(endpoint: SimpleNamespace, fake_model: Path, tmp_path: Path, usage: Any) -> None:
    endpoint.reply = lambda request, key: (200, {**said(), "usage": usage})
    assert run(endpoint, fake_model, tmp_path / "out").overall.exact.value == 1
    assert {record.tokens for record in records(tmp_path / "out")} == {0}


def test_a_stored_record_without_its_tokens_is_named(
    endpoint: SimpleNamespace, fake_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(endpoint, fake_model, out)
    text = (out / RECORDS).read_text(encoding="utf-8")
    (out / RECORDS).write_text(text.replace('"tokens": 5', '"tokens": null', 1), encoding="utf-8")
    with pytest.raises(UserError, match=r"records.jsonl:1: not a record \(tokens None\)"):
        run(endpoint, fake_model, out)


@pytest.mark.parametrize(
    ("reason", "status"),
    [("stop", "right"), ("eos", "right"), ("eos_token", "right"), ("stop_sequence", "right"), ("length", "truncated")],
)
def test_each_servers_word_for_an_end(
    endpoint: SimpleNamespace, fake_model: Path, tmp_path: Path, reason: str, status: str
) -> None:
    endpoint.reply = lambda request, key: (200, said(finish_reason=reason))
    run(endpoint, fake_model, tmp_path / "out")
    assert {record.status for record in records(tmp_path / "out")} == {status}


@pytest.mark.parametrize("status", [200, 400, 418, 500])
def test_a_key_that_the_server_repeats_is_written_nowhere(
    endpoint: SimpleNamespace, fake_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Of whatever form and under whatever name; what a model says is kept as it is."""
    monkeypatch.setenv("WORD_OF_MINE", "correct-horse-battery")
    told = f"{'x' * 470}, headers: authorization="

    def repeat(request: dict[str, Any], authorization: str) -> tuple[int, Any]:
        if endpoint.asked == 2:
            return status, {"error": {"message": told + authorization.removeprefix("Bearer ")}}
        return 200, said("correct-horse-battery")

    endpoint.reply = repeat
    out = tmp_path / "out"
    try:
        run(endpoint, fake_model, out, api_key_env="WORD_OF_MINE")
        found = [record for record in records(out) if record.status == "error"]
        assert len(found) == 1
        reason = str(found[0].problem)
    except UserError as error:
        reason = str(error)
    assert "authorization=" in reason or len(reason) == 500
    assert "correct" not in reason
    assert all("correct-horse-battery" in each.completion for each in records(out) if each.status != "error")


def test_an_engines_reason_is_kept_without_secrets() -> None:
    """Whatever engine: the record is what is written, rescored and shown."""
    reason = "refused: Bearer abcdefgh12345678"
    completion = Completion("e0", 0, reason, "error", 0)
    assert score(TASK, EXAMPLES[0], completion, "").problem == "refused: Bearer ***"
    spoken = Completion("e0", 0, reason, "stop", 3)
    assert score(TASK, EXAMPLES[0], spoken, "").completion == reason


@pytest.mark.parametrize("key", ["sk-кириллица-1234", "sk-1234567890\n", "“sk-1234567890”"])
def test_a_key_that_no_header_takes_is_told_as_that(
    endpoint: SimpleNamespace, fake_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("THEIR_KEY", key)
    with pytest.raises(UserError, match=r"^\$THEIR_KEY: .*ASCII") as caught:
        run(endpoint, fake_model, tmp_path / "e", api_key_env="THEIR_KEY")
    assert key.strip() not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_request_that_cant_be_sent_is_not_the_servers_reply(endpoint: SimpleNamespace, fake_model: Path) -> None:
    engine = server.load(ModelSpec(fake_model, None, "base"), {"base_url": endpoint.url, "api": "chat"})
    half = Request("e", (), ({"role": "user", "content": "half a pair \ud83d"},))
    (completion,) = engine.generate([half], Sampling(9))
    engine.close()
    assert completion.finish_reason == "error"
    assert completion.text.startswith("the request can't be sent: UnicodeEncodeError: ")
    assert endpoint.asked == 0
