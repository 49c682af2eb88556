"""The box: what is asked of which model, in whose words, and what happens when it goes wrong or takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from benchmarks.tiny import write_tiny_llama
from eval.engines.base import Completion, Generator, ModelSpec, Request, Sampling
from eval.engines.scripted import Scripted
from rewards.core import UserError
from rewards.response import render
from tasks.registry import load_task
from toolkit.predict import FIELDS
from toolkit.rundir import Run
from toolkit.ui import asking
from toolkit.ui.app import MOST_BYTES, application
from toolkit.ui.asking import LONGEST, WAITING, Asker, fields_of, moment_from, spec_of
from toolkit.ui.runs import Shelf

HERE = "http://127.0.0.1:8050"
ANSWERS = {
    "base": "I think it's <b>noon</b>",
    "tuned": render("пт 17 + 2 = 19", "2025-01-19T12:00:00+03:00"),
}
Loader = Callable[[str, ModelSpec, Mapping[str, Any]], Generator]


@pytest.fixture
def run_dir(tmp_path: Path, fake_model: Path) -> Path:
    """A finished run of the plain datetime task, as far as the box looks at it."""
    return write_asked_run(tmp_path / "runs" / "mine", fake_model)


def write_asked_run(directory: Path, model: Path, **changes: Any) -> Path:
    (directory / "stages").mkdir(parents=True)
    recipe = {
        "task": "datetime_extraction_plain",
        "output": str(directory),
        "model": {"reference": str(model), "backend": "transformers"},
        "data": {"sft": 8, "grpo": 8, "validation": 4, "test": 8},
        "sft": {},
        "eval": {"engine": "scripted"},
        **changes,
    }
    (directory / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    (directory / "stages" / "merge.json").write_text("{}", encoding="utf-8")
    return directory


class Engines:
    """Stands in for load_engine: scripted answers by the model's name. Notes what was loaded, asked and closed."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.closed: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.prompts: list[str] = []
        self.answers = dict(ANSWERS)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, engine: str, model: ModelSpec, options: Mapping[str, Any]) -> Generator:
        self.loaded.append(model.name)
        return Waiting(self, model.name)


class Waiting:
    def __init__(self, engines: Engines, name: str) -> None:
        self.engines, self.name = engines, name

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        assert self.engines.gate.wait(30)
        self.engines.asked += [(self.name, each.messages[-1]["content"]) for each in requests]
        self.engines.prompts += ["\n".join(turn["content"] for turn in each.messages) for each in requests]
        yield from Scripted({}, self.engines.answers[self.name]).generate(requests, sampling)

    def close(self) -> None:
        self.engines.closed.append(self.name)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    made = Engines()
    monkeypatch.setattr(asking, "load_engine", made)
    return made


@pytest.fixture
def client(run_dir: Path, engines: Engines) -> TestClient:
    return client_of(run_dir.parent)


def client_of(root: Path, asker: Asker | None = None) -> TestClient:
    app = application(Shelf([root]), asker or Asker("scripted", {}, 40))
    return TestClient(app, base_url=HERE, raise_server_exceptions=False)


def body_of(run_dir: Path, text: str = "Послезавтра в 12", **more: str) -> dict[str, str]:
    (entry,) = [each for each in Shelf([run_dir.parent]).entries() if each.dir == run_dir]
    return {"run": entry.id, "text": text, "date": "2025-01-17", **more}


def answered(client: TestClient, body: Mapping[str, str]) -> dict[str, Any]:
    """Ask, and wait for both sides: {base: …, tuned: …}."""
    found = client.post("/ask", json=body)
    assert found.status_code == 202, found.text
    until = time.monotonic() + 60
    question = found.json()
    while not question["done"]:
        assert time.monotonic() < until
        time.sleep(0.01)
        question = client.get(f"/ask/{question['id']}").json()
    return {side["name"]: side for side in question["sides"]}


def refusal(client: TestClient, body: Any, status: int = 400, **headers: str) -> str:
    found = client.post("/ask", json=body, headers=headers)
    assert found.status_code == status
    said: str = found.json()["error"]
    return said


# two answers


def test_both_models_answer_side_by_side(client: TestClient, run_dir: Path, engines: Engines) -> None:
    sides = answered(client, body_of(run_dir))
    assert [(side["name"], side["title"], side["state"]) for side in sides.values()] == [
        ("base", "base", "done"),
        ("tuned", "SFT", "done"),
    ]
    assert (sides["tuned"]["answer"], sides["tuned"]["reasoning"]) == ("2025-01-19T12:00:00+03:00", "пт 17 + 2 = 19")
    assert (sides["base"]["answer"], sides["base"]["completion"]) == (None, ANSWERS["base"])
    assert sides["base"]["problem"] is not None
    assert engines.asked == [("tuned", "Послезавтра в 12"), ("base", "Послезавтра в 12")]


def test_models_are_loaded_at_the_first_question_and_kept(
    client: TestClient, run_dir: Path, engines: Engines, tmp_path: Path, fake_model: Path
) -> None:
    client.get("/")
    client.get(f"/run/{body_of(run_dir)['run']}")
    assert engines.loaded == []
    for text in ("завтра", "tomorrow at 5 pm"):
        answered(client, body_of(run_dir, text))
    assert engines.loaded == ["tuned", "base"]
    (run_dir / "model").mkdir()
    (run_dir / "model" / "model.safetensors").write_bytes(b"trained again")
    answered(client, body_of(run_dir))
    assert engines.loaded == ["tuned", "base", "tuned"]
    assert engines.closed == ["tuned"], "two models at most are in memory, and the base is the same"


def test_the_prompt_is_the_tasks_own(run_dir: Path, tmp_path: Path, fake_model: Path, engines: Engines) -> None:
    deep = write_asked_run(run_dir.with_name("deep"), fake_model, task="datetime_extraction")
    when = {"date": "2025-03-08", "time": "21:45", "offset": "+05:00"}
    answered(client_of(run_dir.parent), body_of(deep, **when))
    assert len(set(engines.prompts)) == 1, "both models read the same"
    for said in ("Послезавтра в 12", "8 March 2025", "21:45", "+05:00"):
        assert said in engines.prompts[0]


def test_a_run_without_a_task_is_asked_as_it_stands(run_dir: Path, fake_model: Path, engines: Engines) -> None:
    data = {"path": "my.csv"}
    chat = write_asked_run(run_dir.with_name("chat"), fake_model, task=None, data=data)
    sides = answered(client_of(run_dir.parent), body_of(chat, "привет"))
    assert engines.asked[0] == ("tuned", "привет")
    assert (sides["base"]["problem"], sides["base"]["completion"]) == (None, ANSWERS["base"])


def test_a_cut_answer_is_said_to_be_cut(client: TestClient, run_dir: Path, engines: Engines) -> None:
    engines.answers["tuned"] = "word " * 50
    assert answered(client, body_of(run_dir))["tuned"]["problem"] == "cut after 40 tokens (--max-tokens)"


@pytest.mark.slow
def test_real_models_answer(tmp_path: Path, smollm2_dir: Path) -> None:
    """Random weights say nothing sensible, but the road is the real one: template, tokens, transformers."""
    base = write_tiny_llama(smollm2_dir, tmp_path / "base")
    run_dir = write_asked_run(tmp_path / "runs" / "mine", base)
    write_tiny_llama(smollm2_dir, run_dir / "model")
    for model in (base, run_dir / "model"):
        (model / "generation_config.json").unlink()  # with its many end tokens the answer would be empty
    asker = Asker("transformers", {"dtype": "float32"}, 8)
    sides = answered(client_of(run_dir.parent, asker), body_of(run_dir))
    for side in sides.values():
        assert (side["state"], side["tokens"], side["problem"]) == ("done", 8, "cut after 8 tokens (--max-tokens)")
        assert side["completion"]
    assert sides["base"]["completion"] == sides["tuned"]["completion"], "they have the same weights"
    assert len(asker.loaded) == 2
    asker.close()
    assert not asker.loaded


# which model, which moment


def test_before_the_merge_the_newest_stage_answers(run_dir: Path, tmp_path: Path, fake_model: Path) -> None:
    run = Shelf([run_dir]).entries()[0].run()
    assert spec_of(run, "tuned").path == run_dir / "model"
    (run_dir / "stages" / "merge.json").unlink()
    with pytest.raises(UserError, match="no stage has trained a model yet"):
        spec_of(run, "tuned")
    run.finish("sft", 1.0)
    adapter = run_dir / "sft" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text(f'{{"base_model_name_or_path": "{fake_model}"}}', encoding="utf-8")
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    assert spec_of(run, "tuned") == ModelSpec(fake_model, adapter, "tuned")
    assert spec_of(run, "base").path == fake_model


def test_an_untrained_run_still_has_its_base(client: TestClient, run_dir: Path) -> None:
    (run_dir / "stages" / "merge.json").unlink()
    sides = answered(client, body_of(run_dir))
    assert (sides["tuned"]["state"], sides["base"]["state"]) == ("failed", "done")
    assert "no stage has trained" in sides["tuned"]["problem"]


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        (None, ()),
        ("datetime_extraction_plain", ("date",)),
        ("datetime_extraction", FIELDS),
        ("order_extraction", ()),
        ("no/such.py", FIELDS),
        ("no/such.yaml", ()),
    ],
)
def test_the_box_has_what_the_task_uses(task: str | None, fields: tuple[str, ...]) -> None:
    assert fields_of(task) == fields


def test_the_box_has_all_of_a_task_that_takes_some_texts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = replace(
        load_task("order_extraction"), ask=lambda text, now: ({"role": "user", "content": str(int(text))},)
    )
    monkeypatch.setattr(asking, "load_task", lambda _: numbers)
    assert fields_of("a plugin's") == FIELDS


def test_a_task_that_cant_ask_says_so(
    run_dir: Path, fake_model: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "load_task", lambda _: replace(load_task("order_extraction"), ask=None))
    monkeypatch.setattr(asking, "task_of", lambda _: replace(load_task("order_extraction"), ask=None))
    mute = write_asked_run(run_dir.with_name("mute"), fake_model, task="order_extraction")
    client = client_of(run_dir.parent)
    page = client.get(f"/run/{body_of(mute)['run']}").text
    assert "can&#39;t ask a free question" in page
    assert 'id="question"' not in page
    assert "can't ask a free question" in refusal(client, body_of(mute))


def test_a_look_at_a_run_runs_no_code_of_it(run_dir: Path, fake_model: Path, tmp_path: Path, engines: Engines) -> None:
    task = tmp_path / "task.py"
    task.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise ValueError\n", encoding="utf-8")
    theirs = write_asked_run(run_dir.with_name("theirs"), fake_model, task=str(task))
    client, entry_id = client_of(run_dir.parent), body_of(theirs)["run"]
    for path in ("/", f"/run/{entry_id}", f"/run/{entry_id}/live"):
        assert client.get(path).status_code == 200
    assert not (tmp_path / "ran").exists()


def test_a_moment_out_of_the_fields() -> None:
    at = {"date": "2025-01-17", "time": "10:30", "offset": "-05:30"}
    assert moment_from(at) == datetime(2025, 1, 17, 10, 30, tzinfo=timezone(-timedelta(hours=5, minutes=30)))
    assert moment_from({"date": "2025-01-17"}) == datetime(2025, 1, 17)
    assert moment_from({}).date() == datetime.now().date()


# what is refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": "  "}, "the phrase is empty"),
        ({"text": "я" * (LONGEST + 1)}, f"at most {LONGEST}"),
        ({"date": "tomorrow"}, "not an ISO date or time"),
        ({"date": "2025-01-17", "offset": "Moscow"}, "not an ISO date or time"),
    ],
)
def test_a_bad_question_is_refused_in_words(
    client: TestClient, run_dir: Path, engines: Engines, changes: dict[str, str], said: str
) -> None:
    assert said in refusal(client, {**body_of(run_dir), **changes})
    assert engines.loaded == []


@pytest.mark.parametrize("body", [[], "text", {"run": 1, "text": "x"}, {"text": "x"}, {"run": "x"}])
def test_a_question_of_another_shape_is_refused(client: TestClient, body: Any) -> None:
    assert "question" in refusal(client, body)


def test_an_unknown_run_and_question(client: TestClient) -> None:
    assert "no such run" in refusal(client, {"run": "../..", "text": "x"}, 404)
    assert client.get("/ask/nothing").status_code == 404


def test_another_site_cant_ask(client: TestClient, run_dir: Path, engines: Engines) -> None:
    body = body_of(run_dir)
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9"):
        assert "has to come from this page" in refusal(client, body, 403, origin=origin)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert "application/json" in refusal(client, body, 415, **{"content-type": kind})
    assert client.post("/ask", json=body, headers={"origin": HERE}).status_code == 202


def test_a_huge_question_is_refused(client: TestClient, run_dir: Path) -> None:
    assert "at most" in refusal(client, body_of(run_dir, "x" * MOST_BYTES), 413)
    assert client.post("/ask", content=b"{", headers={"content-type": "application/json"}).status_code == 400


def test_a_failing_engine_is_told_in_words_and_the_next_question_works(
    client: TestClient, run_dir: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a-secret-of-mine")

    def fails(*_: Any) -> Generator:
        raise RuntimeError("CUDA out of memory with a-secret-of-mine\nand a long trace")

    monkeypatch.setattr(asking, "load_engine", fails)
    side = answered(client, body_of(run_dir))["tuned"]
    assert side["state"] == "failed"
    assert side["problem"] == "the engine failed: RuntimeError: CUDA out of memory with ***"
    monkeypatch.setattr(asking, "load_engine", engines)
    assert answered(client, body_of(run_dir))["tuned"]["state"] == "done"


# long answers


def test_other_requests_are_answered_while_a_model_thinks(client: TestClient, run_dir: Path, engines: Engines) -> None:
    engines.gate.clear()
    question = client.post("/ask", json=body_of(run_dir)).json()
    until = time.monotonic() + 30
    while client.get(f"/ask/{question['id']}").json()["sides"][1]["state"] != "answering":
        assert time.monotonic() < until
    states = [side["state"] for side in client.get(f"/ask/{question['id']}").json()["sides"]]
    assert states == ["waiting", "answering"]
    assert client.get("/").status_code == 200
    assert client.get(f"/run/{body_of(run_dir)['run']}/live").status_code == 200
    engines.gate.set()
    while not client.get(f"/ask/{question['id']}").json()["done"]:
        assert time.monotonic() < until


def test_the_line_of_questions_has_an_end(client: TestClient, run_dir: Path, engines: Engines) -> None:
    engines.gate.clear()
    answers = [client.post("/ask", json=body_of(run_dir, f"phrase {i}")) for i in range(WAITING + 2)]
    assert answers[-1].status_code == 400
    assert "are waiting already" in answers[-1].json()["error"]
    engines.gate.set()
    last = [answer.json()["id"] for answer in answers if answer.status_code == 202][-1]
    until = time.monotonic() + 30
    while not client.get(f"/ask/{last}").json()["done"]:  # or the next test's engines answer the rest
        assert time.monotonic() < until
        time.sleep(0.01)


def test_questions_are_answered_one_at_a_time(client: TestClient, run_dir: Path, engines: Engines) -> None:
    texts = [f"phrase {i}" for i in range(4)]
    for text in texts[:-1]:
        client.post("/ask", json=body_of(run_dir, text))
    answered(client, body_of(run_dir, texts[-1]))
    assert engines.asked == [(name, text) for text in texts for name in ("tuned", "base")]


def test_a_run_object_is_what_the_recipe_says(run_dir: Path) -> None:
    run = Shelf([run_dir]).entries()[0].run()
    assert isinstance(run, Run)
    assert run.recipe.task == "datetime_extraction_plain"
