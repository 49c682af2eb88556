from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jsonl import read_jsonl
from eval.engines import registry, scripted
from eval.engines.base import Completion, ModelSpec, Request, Sampling, sample_seed
from eval.records import Record, read_records
from eval.runner import evaluate
from eval.summary import Summary, read_summary
from eval.tables import show, summary_grid, to_text
from rewards.core import Example, Reward, UserError
from rewards.response import parse, render
from tasks.base import Split, Task


def exact(completion: str, example: Example) -> float:
    return float(parse(completion).answer in example.answers)


def format_kept(completion: str, example: Example) -> float:
    return float(parse(completion).problem is None)


def make_examples(split: Split, n: int, seed: int) -> Iterator[Example]:
    for i in range(n):
        yield Example(
            id=f"{split}-{i}",
            messages=({"role": "user", "content": f"{i} + 1 = ?"},),
            answers=(str(i + 1),),
            tags={"parity": "odd" if i % 2 else "even"},
            group=f"g{i % 3}",
        )


TASK = Task("add_one", "1", make_examples, {"exact": (exact, 1.0), "format": (format_kept, 0.1)}, exact)
EXAMPLES = list(make_examples("test", 6, 0))
RIGHT = [render("add", example.answers[0]) for example in EXAMPLES]


def write_script(path: Path, completions: Sequence[str]) -> ModelSpec:
    rows = [{"id": example.id, "completion": text} for example, text in zip(EXAMPLES, completions, strict=False)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return ModelSpec(path, None, path.stem)


def run(model: ModelSpec, out_dir: Path, **changes: Any) -> Summary:
    arguments: dict[str, Any] = {
        "split": "test",
        "seed": 0,
        "engine": "scripted",
        "sampling": Sampling(max_tokens=20),
        **changes,
    }
    return evaluate(TASK, arguments.pop("examples", EXAMPLES), model=model, out_dir=out_dir, **arguments)


def test_each_status_is_counted_apart(tmp_path: Path) -> None:
    cut = "<reasoning>" + "so " * 30 + "</reasoning><answer>4</answer>"
    said = [RIGHT[0], render("add", "99"), "the answer is 3", cut, RIGHT[4]]
    summary = run(write_script(tmp_path / "m.jsonl", said), tmp_path / "out")
    assert summary.overall.statuses == {
        "right": 2,
        "wrong": 1,
        "no_answer": 0,
        "wrong_format": 1,
        "truncated": 1,
        "error": 1,
    }
    assert summary.overall.exact.value == pytest.approx(2 / 6)
    assert summary.overall.exact.low < 2 / 6 < summary.overall.exact.high
    assert summary.overall.format.value == pytest.approx(3 / 6)
    assert summary.overall.truncated.value == pytest.approx(1 / 6)
    assert {value: some.n for value, some in summary.by_tag["parity"].items()} == {"even": 3, "odd": 3}
    assert summary.rewards == pytest.approx({"exact": 2 / 6, "format": 3 / 6})
    records = read_records(tmp_path / "out" / "records.jsonl")
    assert [record.problem for record in records[2:4]] == ["missing_tag", None]
    assert records[3].answer is None, "a cut completion is never read for an answer"
    assert records[3].score == 0
    assert read_summary(tmp_path / "out") == summary


def test_constant_engine_needs_no_file(tmp_path: Path) -> None:
    summary = run(ModelSpec(tmp_path / "nothing", None, RIGHT[0]), tmp_path / "out")
    assert summary.overall.exact.value == pytest.approx(1 / 6)


def test_several_samples_are_averaged_within_an_example(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    texts = [(example, text) for example in EXAMPLES for text in (render("", example.answers[0]), "no")]
    path.write_text("".join(json.dumps({"id": e.id, "completion": t}) + "\n" for e, t in texts), encoding="utf-8")
    summary = run(ModelSpec(path, None, "m"), tmp_path / "out", sampling=Sampling(20, temperature=1.0, n=4))
    assert (summary.overall.n, summary.overall.samples) == (6, 24)
    assert summary.overall.exact.value == 0.5


def test_a_finished_directory_is_summed_up_without_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_script(tmp_path / "m.jsonl", RIGHT)
    first = run(model, tmp_path / "out")
    monkeypatch.setattr(registry, "ENGINES", {"scripted": "no.such.module:load"})
    again = run(model, tmp_path / "out")
    assert replace(again, completions=6, seconds=first.seconds) == first
    assert again.completions == 0


@pytest.mark.parametrize("finished", [True, False])
def test_kept_answers_take_the_groups_and_tags_of_now(tmp_path: Path, finished: bool) -> None:
    """They are declared late, often after the first evaluation; nothing that was answered is asked again."""
    model, out = write_script(tmp_path / "m.jsonl", RIGHT), tmp_path / "out"
    before = run(model, out, examples=[replace(each, group="", tags={}) for each in EXAMPLES])
    if not finished:
        lines = (out / "records.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (out / "records.jsonl").write_text("".join(lines[:4]), encoding="utf-8")
    after = run(model, out)
    assert after.completions == (0 if finished else 2)
    assert [(each.group, each.tags) for each in read_records(out / "records.jsonl")] == [
        (each.group, each.tags) for each in EXAMPLES
    ]
    assert (list(before.by_tag), list(after.by_tag)) == ([], ["parity"])
    assert (after.overall.exact.value, after.overall.n) == (before.overall.exact.value, before.overall.n)
    assert after.overall.exact.low < before.overall.exact.low, "of three groups, not of six examples"


def test_resumes_after_a_kill_with_a_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_script(tmp_path / "m.jsonl", RIGHT)
    run(model, tmp_path / "whole")
    run(model, tmp_path / "out")
    path = tmp_path / "out" / "records.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:40], encoding="utf-8")
    (tmp_path / "out" / "summary.json").unlink()
    asked: list[str] = []

    def spy(engine: scripted.Scripted, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        asked.extend(request.id for request in requests)
        yield from original(engine, requests, sampling)

    original = scripted.Scripted.generate
    monkeypatch.setattr(scripted.Scripted, "generate", spy)
    summary = run(model, tmp_path / "out")
    assert asked == ["test-2", "test-3", "test-4", "test-5"]
    assert summary.completions == 4
    assert path.read_bytes() == (tmp_path / "whole" / "records.jsonl").read_bytes()


def test_engine_errors_and_half_sampled_examples_are_asked_again(tmp_path: Path) -> None:
    model = write_script(tmp_path / "m.jsonl", RIGHT)
    sampling = Sampling(20, temperature=1.0, n=2)
    run(model, tmp_path / "out", sampling=sampling)
    path = tmp_path / "out" / "records.jsonl"
    rows = read_jsonl(path)
    rows[0]["status"] = "error"  # example 0
    del rows[3]  # one of the two samples of example 1
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    summary = run(model, tmp_path / "out", sampling=sampling)
    assert summary.completions == 4
    assert summary.overall.statuses["error"] == 0


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 1}, "seed"),
        ({"split": "validation"}, "split"),
        ({"sampling": Sampling(max_tokens=21)}, "sampling"),
        ({"examples": EXAMPLES[:5]}, "n: 6 there, 5 here"),
        ({"examples": [replace(EXAMPLES[0], answers=("7",)), *EXAMPLES[1:]]}, "examples"),
    ],
)
def test_refuses_the_directory_of_another_evaluation(tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    model = write_script(tmp_path / "m.jsonl", RIGHT)
    run(model, tmp_path / "out")
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    with pytest.raises(UserError, match=key):
        run(model, tmp_path / "out", **changes)
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before


def test_another_model_is_another_evaluation(tmp_path: Path) -> None:
    run(write_script(tmp_path / "m.jsonl", RIGHT), tmp_path / "out")
    with pytest.raises(UserError, match="model"):
        run(write_script(tmp_path / "m.jsonl", ["no"] * 6), tmp_path / "out")


def test_refuses_records_without_a_manifest_and_a_file(tmp_path: Path) -> None:
    model = ModelSpec(tmp_path / "x", None, "no")
    (tmp_path / "records.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest.json: no such file"):
        run(model, tmp_path)
    with pytest.raises(UserError, match="is a file"):
        run(model, tmp_path / "records.jsonl")


def test_a_directory_whose_evaluation_never_answered_is_free(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("broken\n", encoding="utf-8")
    with pytest.raises(UserError, match="want"):
        run(ModelSpec(tmp_path / "m.jsonl", None, "m"), tmp_path / "out")
    assert run(write_script(tmp_path / "m.jsonl", RIGHT), tmp_path / "out").overall.exact.value == 1


def test_a_broken_record_inside_the_file_is_named(tmp_path: Path) -> None:
    model = write_script(tmp_path / "m.jsonl", RIGHT)
    run(model, tmp_path / "out")
    path = tmp_path / "out" / "records.jsonl"
    path.write_text("{}\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(UserError, match=r"records.jsonl:1: not a record"):
        run(model, tmp_path / "out")


def test_an_engine_that_answers_nothing_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "other", "completion": "x"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="answered nothing; it said: the script has no") as caught:
        run(ModelSpec(path, None, "m"), tmp_path / "out")
    assert caught.value.exit_code == 14


@pytest.mark.parametrize("value", [2.0, float("nan"), -0.1])
def test_a_reward_outside_its_range_is_named(tmp_path: Path, value: float) -> None:
    task = replace(TASK, rewards={"odd": (lambda completion, example: value, 1.0)})
    with pytest.raises(UserError, match=r"'odd' must give a number within \[0, 1\], got .* on example 'test-0'"):
        evaluate(
            task,
            EXAMPLES,
            split="test",
            seed=0,
            model=ModelSpec(tmp_path / "x", None, RIGHT[0]),
            engine="scripted",
            sampling=Sampling(9),
            out_dir=tmp_path / "out",
        )


def finds(completion: str, example: Example) -> float:
    return float(completion.index("missing"))


def leaves(completion: str, example: Example) -> float:
    raise SystemExit(0)


@pytest.mark.parametrize(("broken", "raised"), [(finds, "ValueError"), (leaves, "SystemExit")])
def test_a_reward_that_raises_is_named(tmp_path: Path, broken: Reward, raised: str) -> None:
    task = replace(TASK, rewards={"broken": (broken, 1.0)})
    with pytest.raises(UserError, match=f"'broken' raised {raised}"):
        evaluate(
            task,
            EXAMPLES,
            split="test",
            seed=0,
            model=ModelSpec(tmp_path / "x", None, RIGHT[0]),
            engine="scripted",
            sampling=Sampling(9),
            out_dir=tmp_path / "out",
        )


def test_no_examples_and_repeated_ids_are_refused(tmp_path: Path) -> None:
    model = ModelSpec(tmp_path / "x", None, "no")
    with pytest.raises(UserError, match="no examples"):
        run(model, tmp_path / "out", examples=[])
    with pytest.raises(UserError, match="'test-0' occurs 2 times"):
        run(model, tmp_path / "out", examples=[EXAMPLES[0], EXAMPLES[0]])


def test_unknown_engine_option_and_script_line_are_named(tmp_path: Path) -> None:
    model = ModelSpec(tmp_path / "x", None, "no")
    with pytest.raises(UserError, match="choose one of: vllm, server, transformers, scripted"):
        run(model, tmp_path / "out", engine="llama")
    with pytest.raises(UserError, match="has no option 'speed'"):
        run(model, tmp_path / "out", options={"speed": 1})
    (tmp_path / "m.jsonl").write_text('{"id": "a"}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"m.jsonl:1: want"):
        run(ModelSpec(tmp_path / "m.jsonl", None, "m"), tmp_path / "other")


def test_a_missing_package_names_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install openai"):
        registry.check_engine("server")


@pytest.mark.parametrize(
    "arguments",
    [{"max_tokens": 0}, {"max_tokens": 5, "n": 2}, {"max_tokens": 5, "temperature": -1}, {"max_tokens": 5, "top_p": 0}],
)
def test_sampling_refuses_what_an_engine_would_misread(arguments: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Sampling(**arguments)


def test_a_sample_seed_depends_on_the_request_not_on_its_place() -> None:
    sampling = Sampling(9, seed=5)
    seeds = {sample_seed(sampling, f"id{i}", j) for i in range(20) for j in range(4)}
    assert len(seeds) == 80
    assert all(seed is not None and 0 <= seed < 2**31 for seed in seeds)
    assert sample_seed(sampling, "id0", 0) != sample_seed(replace(sampling, seed=6), "id0", 0)
    assert sample_seed(replace(sampling, seed=None), "id0", 0) is None


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    run(write_script(tmp_path / "m.jsonl", ["строка\u2028 с разделителем", *RIGHT[1:]]), tmp_path / "out")
    first = read_records(tmp_path / "out" / "records.jsonl")[0]
    assert isinstance(first, Record)
    assert first.completion == "строка\u2028 с разделителем"


def test_the_table_is_plain_in_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run(write_script(tmp_path / "m.jsonl", RIGHT), tmp_path / "out")
    show(summary_grid(summary))
    printed = capsys.readouterr()
    assert printed.err == "", "no progress bar outside a terminal"
    assert printed.out == to_text(summary_grid(summary))
    rows = [line.split("\t") for line in printed.out.splitlines()[1:5]]
    assert [row[0] for row in rows] == ["slice", "all", "parity=even", "parity=odd"]
    assert rows[1][2:4] == ["100.0%", "13.9%..100.0%"]


def test_scripted_evaluation_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, eval.runner, eval.compare, eval.tables;"
        "import eval.engines.scripted, eval.engines.vllm, eval.engines.server;"
        "print(sorted({'torch', 'transformers', 'vllm', 'peft', 'openai', 'toolkit'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"id": "a", "completion": null}', "'completion' is null, want a text; mend the line"),
        ('{"id": "a", "completion": ["x"]}', """'completion' is ["x"], want a text; mend the line"""),
        ('{"id": 5, "completion": "x"}', "'id' is 5, want a text; mend the line"),
    ],
)
def test_a_scripted_answer_that_is_no_text_is_refused(tmp_path: Path, row: str, says: str) -> None:
    path = tmp_path / "script.jsonl"
    path.write_text(f'{{"id": "a", "completion": "x"}}\n{row}\n', encoding="utf-8")
    with pytest.raises(UserError) as caught:
        scripted.read_script(path)
    assert str(caught.value) == f"{path}:2: {says}"


def test_scripted_answers_beyond_the_samples_are_noted(capsys: pytest.CaptureFixture[str]) -> None:
    engine = scripted.Scripted({"a": ["x", "y"]}, None)
    for samples, noted in ((1, True), (2, False), (3, False)):
        found = list(engine.generate([Request("a", (), ())], Sampling(max_tokens=9, n=samples, temperature=1.0)))
        assert [each.text for each in found] == ["x", "y", "x"][:samples]
        note = f"note: the script has 2 completions of 'a' for {samples} samples: the first count\n"
        assert capsys.readouterr().err == (note if noted else "")
