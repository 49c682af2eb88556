"""The completion cache: what it gives back, what it must not, and that no state of its file is an error."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from eval import cache
from eval.cache import KEY_OPTIONS, Cached, Store, facts_of, keeps_nothing, key_of, with_cache
from eval.engines.base import Completion, ModelSpec, Request, Sampling, sample_seed
from eval.manifest import identity
from eval.records import read_records
from eval.runner import Prepared, evaluate
from rewards.core import Example
from tasks.base import Task

GREEDY = Sampling(8)
SAMPLED = Sampling(8, temperature=1.0, n=3, seed=5)
REQUESTS = [Request(f"r{i}", (1, 2, i), ()) for i in range(4)]
IDENTITY: dict[str, Any] = {"model": "m", "adapter": None, "engine": "vllm", "options": {}}
MODEL = ModelSpec(Path("nowhere"), None, "m")


@dataclass
class Engine:
    """Deterministic: a text of the prompt and the sample's seed. Counts what it was asked."""

    asked: list[str] = field(default_factory=list)
    fail: str | None = None
    closed: bool = False

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        for request in requests:
            for index in range(sampling.n):
                self.asked.append(f"{request.id}/{index}")
                if request.id == self.fail:
                    yield Completion(request.id, index, "broken", "error", 0)
                    continue
                seed = 0 if sampling.temperature == 0 else sample_seed(sampling, request.id, index)
                yield Completion(request.id, index, f"{request.prompt_ids} {seed}", "stop", 3)

    def close(self) -> None:
        self.closed = True


def ask(
    path: Path | None,
    requests: Sequence[Request] = REQUESTS,
    sampling: Sampling = GREEDY,
    double: Engine | None = None,
    **identity: Any,
) -> tuple[list[Completion], Engine, bool]:
    """The completions in order, the engine, and whether it was loaded."""
    double = double or Engine()
    loaded = []

    def load() -> Engine:
        loaded.append(True)
        return double

    generator = with_cache(path, {**IDENTITY, **identity}, MODEL, requests, sampling, load)
    found = sorted(generator.generate(requests, sampling), key=lambda each: (each.request_id, each.index))
    generator.close()
    return found, double, bool(loaded)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_the_second_time_the_engine_isnt_even_loaded(tmp_path: Path, sampling: Sampling) -> None:
    first, engine, _ = ask(tmp_path / "c", sampling=sampling)
    assert engine.closed
    again, _, loaded = ask(tmp_path / "c", sampling=sampling)
    assert again == first
    assert not loaded


@pytest.mark.parametrize(
    ("sampling", "identity", "nothing"),
    [
        (GREEDY, {}, False),
        (SAMPLED, {}, False),  # other completions of the same model: only its prompts could tell
        (replace(SAMPLED, seed=None), {}, True),
        (GREEDY, {"model": "other weights"}, True),
        (GREEDY, {"engine": "server"}, True),
    ],
)
def test_whether_an_engine_is_needed_is_known_before_the_prompts(
    tmp_path: Path, sampling: Sampling, identity: dict[str, Any], nothing: bool
) -> None:
    assert keeps_nothing(tmp_path / "c", IDENTITY, MODEL, sampling)
    ask(tmp_path / "c")
    assert keeps_nothing(tmp_path / "c", {**IDENTITY, **identity}, MODEL, sampling) is nothing
    assert keeps_nothing(None, IDENTITY, MODEL, sampling)


def test_a_broken_cache_leaves_it_open_whether_an_engine_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c").write_text("no database " * 100, encoding="utf-8")
    assert not keeps_nothing(tmp_path / "c", IDENTITY, MODEL, GREEDY)
    assert capsys.readouterr().err == "", "the store says it, once"


def test_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    ask(tmp_path / "c", REQUESTS[:3])
    found, engine, _ = ask(tmp_path / "c")
    assert engine.asked == ["r3/0"]
    assert found == ask(None)[0]


def test_a_half_sampled_request_is_asked_whole(tmp_path: Path) -> None:
    whole, _, _ = ask(tmp_path / "c", sampling=SAMPLED)
    with sqlite3.connect(tmp_path / "c") as connection:
        facts = facts_of(IDENTITY, MODEL)
        connection.execute("DELETE FROM completions WHERE key = ?", [key_of(facts, REQUESTS[1], SAMPLED, 2)])
    connection.close()
    found, engine, _ = ask(tmp_path / "c", sampling=SAMPLED)
    assert engine.asked == ["r1/0", "r1/1", "r1/2"]
    assert found == whole


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other weights"},
        {"adapter": "a"},
        {"engine": "transformers"},
        {"options": {"dtype": "float32"}},
        {"sampling": replace(GREEDY, max_tokens=9)},
        {"sampling": replace(GREEDY, stop_token_ids=(2,))},
        {"requests": [replace(each, prompt_ids=(9,)) for each in REQUESTS]},
    ],
)
def test_whatever_changes_a_completion_is_in_its_key(tmp_path: Path, change: Mapping[str, Any]) -> None:
    ask(tmp_path / "c")
    _, engine, _ = ask(tmp_path / "c", **change)
    assert len(engine.asked) == len(REQUESTS)


@pytest.mark.parametrize(("option", "counts"), [("dtype", True), ("attention_backend", True), ("log_file", False)])
def test_options_that_change_numbers_are_part_of_the_identity(tmp_path: Path, option: str, counts: bool) -> None:
    example = Example("1", ({"role": "user", "content": "?"},), ("a",))
    one, other = (identity([example], MODEL, "vllm", {option: value}, GREEDY) for value in ("a", "b"))
    assert (one != other) is counts


def test_another_version_of_the_engine_or_of_the_tokenizer_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelSpec(tmp_path, None, "m")
    before = facts_of(IDENTITY, model)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert facts_of(IDENTITY, model) != before
    monkeypatch.setattr(cache, "versions", lambda packages: {"vllm": "99"})
    assert facts_of(IDENTITY, MODEL) != before
    monkeypatch.undo()
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    assert facts_of(IDENTITY, MODEL) != before


def test_completions_by_earlier_rules_of_the_engine_arent_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in ("vllm", "transformers"):
        with monkeypatch.context() as earlier:
            earlier.setattr(cache, "RULES", {})
            ask(tmp_path / "c", engine=engine)
        asked = ask(tmp_path / "c", engine=engine)[1].asked
        assert len(asked) == (len(REQUESTS) if engine == "transformers" else 0)
        assert ask(tmp_path / "c", engine=engine)[1].asked == []


def test_a_sampled_completion_has_its_seed_in_its_key_and_a_greedy_one_none(tmp_path: Path) -> None:
    ask(tmp_path / "c")
    renamed = [replace(each, id=f"x{each.id}") for each in REQUESTS]
    assert ask(tmp_path / "c", renamed, replace(GREEDY, seed=7))[1].asked == []
    ask(tmp_path / "c", sampling=SAMPLED)
    assert len(ask(tmp_path / "c", sampling=replace(SAMPLED, seed=6))[1].asked) == 12
    assert len(ask(tmp_path / "c", renamed, SAMPLED)[1].asked) == 12
    assert ask(tmp_path / "c", sampling=replace(SAMPLED, n=2))[1].asked == []  # a prefix of the three


@pytest.mark.parametrize(
    ("engine", "sampling", "kept"),
    [
        ("vllm", GREEDY, True),
        ("vllm", SAMPLED, True),
        ("vllm", replace(SAMPLED, seed=None), False),  # another sample each time
        ("transformers", GREEDY, True),
        ("transformers", SAMPLED, False),  # seeded a batch at a time
        ("server", GREEDY, False),  # its weights are unknown
        ("scripted", GREEDY, False),
        ("peer:duckling", GREEDY, False),
    ],
)
def test_only_what_can_be_repeated_is_kept(tmp_path: Path, engine: str, sampling: Sampling, kept: bool) -> None:
    double = Engine()
    generator = with_cache(tmp_path / "c", {**IDENTITY, "engine": engine}, MODEL, REQUESTS, sampling, lambda: double)
    assert isinstance(generator, Cached) is kept


def test_an_engine_error_isnt_kept(tmp_path: Path) -> None:
    ask(tmp_path / "c", double=Engine(fail="r2"))
    found, engine, _ = ask(tmp_path / "c")
    assert engine.asked == ["r2/0"]
    assert all(each.finish_reason == "stop" for each in found)


def test_what_a_killed_process_had_is_kept(tmp_path: Path) -> None:
    generator = with_cache(tmp_path / "c", IDENTITY, MODEL, REQUESTS, GREEDY, Engine)
    answers = generator.generate(REQUESTS, GREEDY)
    for _ in range(3):
        next(answers)  # no close, no commit: as after a kill
    assert ask(tmp_path / "c")[1].asked == ["r3/0"]


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_corrupt_file_costs_one_line_and_nothing_else(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c").write_bytes(content)
    found, engine, _ = ask(tmp_path / "c")
    assert found == ask(None)[0]
    assert len(engine.asked) == 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (0 if content == b"" else 1)  # an empty file is a new database
    assert all("can't be used" in line and "delete the file" in line for line in lines)


def test_a_file_damaged_in_the_middle_costs_what_it_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = [Request(f"r{i}", (i,), ()) for i in range(400)]
    ask(tmp_path / "c", many)
    raw = bytearray((tmp_path / "c").read_bytes())
    raw[4096:-4096] = b"\xa5" * (len(raw) - 8192)
    (tmp_path / "c").write_bytes(raw)
    found, _, _ = ask(tmp_path / "c", many)
    assert found == ask(None, many)[0]
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("row", ["not JSON", "[1, 2]", '["text", "error", 3]', '["text", "stop", "3"]', "null"])
def test_a_row_that_makes_no_sense_is_asked_again(tmp_path: Path, row: str) -> None:
    ask(tmp_path / "c")
    with sqlite3.connect(tmp_path / "c") as connection:
        connection.execute("UPDATE completions SET row = ?", [row])
    connection.close()
    found, engine, _ = ask(tmp_path / "c")
    assert len(engine.asked) == 4
    assert found == ask(None)[0]


def test_a_place_that_cant_be_written_costs_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    found, _, _ = ask(tmp_path / "file" / "c")
    assert found == ask(None)[0]
    assert capsys.readouterr().err.count("\n") == 1


def _write(path: Path, start: int) -> None:
    store = Store(path)
    for i in range(start, start + 300):
        store.put(b"%d" % i, [f"text {i}", "stop", i])
    assert not store.broken
    store.close()


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path / "c", 150 * i)) for i in range(3)]  # they overlap
    for each in writers:
        each.start()
    for each in writers:
        each.join(60)
    assert [each.exitcode for each in writers] == [0, 0, 0]
    store = Store(tmp_path / "c")
    assert [store.get(b"%d" % i) for i in range(600)] == [[f"text {i}", "stop", i] for i in range(600)]
    store.close()


def test_an_evaluation_in_another_directory_generates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole road through eval.runner, with an engine whose completions may be kept."""

    def metric(completion: str, example: Example) -> float:
        return float(example.answers[0] in completion)

    examples = [Example(f"e{i}", ({"role": "user", "content": str(i)},), (f", {i})",)) for i in range(5)]
    task = Task("t", "1", lambda split, n, seed: iter(()), {"m": (metric, 1.0)}, metric)
    engines: list[Engine] = []

    def load(name: str, model: ModelSpec, options: Mapping[str, Any]) -> Engine:
        engines.append(Engine())
        return engines[-1]

    def prepare(*arguments: Any) -> Prepared:
        requests = tuple(Request(each.id, (7, i), each.messages) for i, each in enumerate(examples))
        return Prepared(requests, {each.id: "h" for each in examples}, None, arguments[3])

    for name, double in (("prepare", prepare), ("check_engine", lambda name: None)):
        monkeypatch.setattr(f"eval.runner.{name}", double)

    def run(directory: str, path: Path | None = tmp_path / "cache") -> Any:
        return evaluate(
            task, examples, split="test", seed=0, model=MODEL, engine="vllm", sampling=GREEDY,
            out_dir=tmp_path / directory, cache=path, load=load,
        )  # fmt: skip

    first, second = run("one"), run("two")
    assert (first.completions, first.cached, second.completions, second.cached) == (5, 0, 0, 5)
    assert len(engines) == 1
    assert read_records(tmp_path / "one" / "records.jsonl") == read_records(tmp_path / "two" / "records.jsonl")
    assert json.loads((tmp_path / "two" / "summary.json").read_text())["cached"] == 5
    third = run("three", None)
    assert (third.completions, third.cached, len(engines)) == (5, 0, 2)


@pytest.mark.parametrize("options", [{"device": "cpu"}, {"tensor_parallel_size": "2"}, {"enforce_eager": "True"}])
def test_other_kernels_have_other_keys(tmp_path: Path, options: dict[str, str]) -> None:
    assert set(options) <= set(KEY_OPTIONS)
    ask(tmp_path / "c")
    assert ask(tmp_path / "c", options=options)[2], "asked again"
