"""The engines without their packages: a stand-in vllm package, a local HTTP server, a tokenizer of words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval.engines import server, vllm
from eval.engines.base import Completion, ModelSpec, Request, Sampling, sample_seed
from eval.prompts import decode, prompt_hash, render_prompt, stop_token_ids, template_hash, tokenizer_dir
from rewards.core import Message, UserError

USER: Message = {"role": "user", "content": "x"}
REQUESTS = [Request(f"r{i}", (5, 6, 7 + i), (USER,)) for i in range(3)]
SAMPLING = Sampling(max_tokens=4, temperature=0.7, top_p=0.9, n=2, seed=3, stop_token_ids=(2,))

# A vllm that "generates" the seed and the last prompt token, finishes in reverse order, and refuses prompts with a 99.
STAND_IN = """
import json, os, sys
from types import SimpleNamespace as NS
print("chatter on stdout")
def TokensPrompt(prompt_token_ids): return prompt_token_ids
class SamplingParams:
    def __init__(self, **kw): self.__dict__.update(kw)
class Tokenizer:
    def decode(self, ids, skip_special_tokens, clean_up_tokenization_spaces): return " ".join(map(str, ids))
class Engine:
    def __init__(self): self.queue = []
    def add_request(self, request_id, prompt, params, lora_request=None):
        if 99 in prompt: raise ValueError("prompt too long\\nand more")
        self.queue.append((request_id, prompt, params, lora_request))
    def has_unfinished_requests(self): return bool(self.queue)
    def step(self):
        if MODE == "die": sys.stderr.write("RuntimeError: no memory\\n"); sys.stderr.flush(); os._exit(9)
        if MODE == "raise": raise RuntimeError("engine broke\\nlong story")
        number, prompt, params, lora = self.queue.pop()
        ids = [params.seed, prompt[-1], 2] if lora is None else [len(lora.path), 2]
        return [NS(finished=True, request_id=number, outputs=[NS(token_ids=ids, finish_reason="stop")])]
class LLM:
    def __init__(self, **kw):
        global MODE
        MODE = open(os.path.join(kw["model"], "mode")).read()
        if MODE == "no start": raise ValueError("bad weights")
        sys.stderr.write(json.dumps(kw) + "\\n")
        self.llm_engine = Engine()
    def get_tokenizer(self): return Tokenizer()
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model directory whose file `mode` tells the stand-in vllm how to behave."""
    package = tmp_path / "lib" / "vllm"
    (package / "lora").mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN, encoding="utf-8")
    (package / "sampling_params.py").write_text("class RequestOutputKind: FINAL_ONLY = 2\n", encoding="utf-8")
    (package / "lora" / "__init__.py").write_text("", encoding="utf-8")
    request = "class LoRARequest:\n    def __init__(self, name, number, path): self.path = path\n"
    (package / "lora" / "request.py").write_text(request, encoding="utf-8")
    platforms = "class current_platform:\n    @staticmethod\n    def is_cpu(): return True\n"
    (package / "platforms.py").write_text(platforms, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    (model / "mode").write_text("work", encoding="utf-8")
    return model


def options(model: Path) -> dict[str, Any]:
    return {"log_file": model / "engine.log"}


def test_vllm_child_answers_every_sample_with_its_own_seed(stand_in: Path) -> None:
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in))
    found = list(engine.generate(REQUESTS, SAMPLING))
    again = list(engine.generate(REQUESTS[:1], SAMPLING))
    engine.close()
    engine.close()
    expected = {
        Completion(request.id, index, f"{sample_seed(SAMPLING, request.id, index)} {7 + place}", "stop", 3)
        for place, request in enumerate(REQUESTS)
        for index in range(2)
    }
    assert set(found) == expected
    assert found[0].request_id == "r2", "in the order in which they finish"
    assert len(again) == 2
    assert engine.process.returncode == 0
    assert "chatter on stdout" in engine.log_file.read_text(encoding="utf-8")


def test_vllm_refused_prompt_is_one_error_not_the_end(stand_in: Path) -> None:
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in))
    found = {
        each.request_id: each
        for each in engine.generate([*REQUESTS, Request("long", (99,), (USER,))], Sampling(4, stop_token_ids=(2,)))
    }
    engine.close()
    assert found["long"] == Completion("long", 0, "prompt too long", "error", 0)
    assert {each.finish_reason for key, each in found.items() if key != "long"} == {"stop"}


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("no start", "ValueError: bad weights"),
        ("die", "ended with status 9: RuntimeError: no memory"),
        ("raise", "RuntimeError: engine broke"),
    ],
)
def test_vllm_failure_is_one_line_with_the_log(stand_in: Path, mode: str, reason: str) -> None:
    (stand_in / "mode").write_text(mode, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        list(vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in)).generate(REQUESTS, SAMPLING))
    assert reason in str(caught.value)
    assert str(stand_in / "engine.log") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 14


def test_vllm_child_ends_when_its_answers_are_dropped(stand_in: Path) -> None:
    engine = vllm.load(ModelSpec(stand_in, None, "m"), options(stand_in))
    answers = engine.generate(REQUESTS, SAMPLING)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert engine.process.poll() is not None


def test_vllm_adapter_sets_the_rank(stand_in: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    model = ModelSpec(stand_in, adapter, "m")
    with pytest.raises(UserError, match="not a PEFT adapter"):
        vllm.load(model, options(stand_in))
    (adapter / "adapter_config.json").write_text('{"r": 20, "rank_pattern": {"q_proj": 40}}', encoding="utf-8")
    engine = vllm.load(model, {**options(stand_in), "dtype": "float32"})
    (found,) = engine.generate(REQUESTS[:1], Sampling(4, stop_token_ids=(2,)))
    engine.close()
    assert found.text == str(len(str(adapter)))
    started = next(
        json.loads(line)
        for line in engine.log_file.read_text(encoding="utf-8").splitlines()
        if line.startswith("{") and "max_lora_rank" in line
    )
    assert (started["max_lora_rank"], started["enable_lora"], started["dtype"]) == (64, True, "float32")


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config.json there"):
        vllm.load(ModelSpec(tmp_path, None, "m"), {})


@pytest.fixture
def endpoint() -> Iterator[SimpleNamespace]:
    """An OpenAI-compatible server: fails each request's first try with 503, refuses prompts of token 99."""
    pytest.importorskip("openai")
    seen = SimpleNamespace(bodies=[], tried=set(), key="none", url="")

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
            if self.headers["Authorization"] != f"Bearer {seen.key}":
                return self.reply(401, {"error": {"message": "bad key"}})
            return self.reply(200, {"object": "list", "data": [{"id": "small", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["seed"] not in seen.tried:
                seen.tried.add(body["seed"])
                return self.reply(503, {"error": {"message": "busy"}})
            seen.bodies.append(body)
            if 99 in body["prompt"]:
                return self.reply(400, {"error": {"message": "too long"}})
            choice = {"index": 0, "text": f"seed {body['seed']}", "finish_reason": "length", "logprobs": None}
            usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
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


class Words:
    """A tokenizer of four words; its template closes every turn with <end>, token 2, which isn't its eos."""

    def __init__(self, template: str | None = "words", eos: int | None = 1) -> None:
        self.chat_template: str | dict[str, str] | None = template
        self.eos_token_id = eos
        self.pad_token_id: int | None = None
        self.added_tokens_decoder = {1: SimpleNamespace(special=True), 2: SimpleNamespace(special=True)}

    def apply_chat_template(self, conversation: list[Message], **kwargs: Any) -> list[int]:
        assert kwargs["tokenize"] is True
        assert kwargs["return_dict"] is False
        ids = [0]
        for turn in conversation:
            ids += [3 if turn["role"] == "user" else 4, 10 + len(turn["content"]), 2]
        return [*ids, 4] if kwargs["add_generation_prompt"] else ids

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
