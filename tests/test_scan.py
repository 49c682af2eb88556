"""The learnability scan: its figures by hand, its advice, and the choice of prompts by it."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval.records import Record
from rewards.core import Example, UserError
from toolkit.config import GrpoConfig, check_recipe
from toolkit.dead_groups import dead_shares, drawn
from toolkit.rundir import Run, open_run
from toolkit.scan import BINS, advise, histogram, judge, within

STORED: dict[str, Any] = {
    "prompts": 3, "samples": 4, "temperature": 1.0, "pass_rate": 0.25, "dead": {}, "advice": [], "rates": {}
}  # fmt: skip


def record(name: str, sample: int, right: bool, formed: bool = True) -> Record:
    return Record(
        name, sample, "right" if right else "wrong", float(right), "x", None, None, "", "stop", 5,
        {"exact": float(right), "format": float(formed)}, "", "",
    )  # fmt: skip


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_chance_of_a_dead_group_is_that_of_drawing_it(size: int) -> None:
    outcomes = [1.0, 1.0, 1.0, 0.0, 0.0, 0.1]
    groups = list(itertools.combinations(outcomes, size))
    assert drawn(outcomes, size) == pytest.approx(sum(len(set(group)) == 1 for group in groups) / len(groups))


def pass_rates(kind: str) -> list[float]:
    """Pass rates of 2,000 prompts."""
    chance = random.Random(0)
    return {
        "all alike": [0.8] * 2000,
        "a slope": [chance.betavariate(2, 1) for _ in range(2000)],
        "many solved": [1.0] * 1200 + [0.5] * 800,
        "ends and a slope": [1.0] * 800 + [0.0] * 400 + [chance.random() for _ in range(800)],
    }[kind]


@pytest.mark.parametrize("kind", ["all alike", "a slope", "many solved", "ends and a slope"])
@pytest.mark.parametrize("size", [8, 16])
def test_a_group_larger_than_the_sample_is_alive_more_often_than_the_sample(kind: str, size: int) -> None:
    """A run samples four answers for groups of sixteen. Four right ones of a prompt don't make it always right."""
    rates, chance = pass_rates(kind), random.Random(1)
    sampled = [[float(chance.random() < rate) for _ in range(4)] for rate in rates]
    truth = sum(rate**size + (1 - rate) ** size for rate in rates) / len(rates)
    assert dead_shares(sampled, [size])[size] == pytest.approx(truth, abs=0.08)


def test_groups_of_what_never_differs_are_dead() -> None:
    assert dead_shares([[1.0, 1.0]] * 3, [64])[64] == pytest.approx(1, abs=0.01)
    assert dead_shares([[n / 100 + m for m in range(2)] for n in range(20)], [16])[16] == pytest.approx(0, abs=0.01)


def test_ends_of_the_histogram_are_apart() -> None:
    counts = histogram([0, 0, 1, 0.05, 0.1, 0.999])
    assert counts[0] == 2
    assert counts[1] == 1
    assert counts[2] == 1
    assert counts[BINS] == 1
    assert counts[BINS + 1] == 1


def test_a_group_that_differs_in_its_format_alone_is_alive() -> None:
    records = [record("a", n, right=False, formed=n == 0) for n in range(4)]
    records += [record("b", n, right=n < 2) for n in range(4)]
    records += [record("c", n, right=False) for n in range(4)]
    found = judge(records, {"exact": 1.0, "format": 0.1}, GrpoConfig(generations=4), 1.0)
    assert found.rates == {"a": 0.0, "b": 0.5, "c": 0.0}
    assert found.dead["4"] == pytest.approx(1 / 3, abs=1e-4)
    without = judge(records, {"exact": 1.0, "format": 0.0}, GrpoConfig(generations=4), 1.0)
    assert without.dead["4"] == pytest.approx(2 / 3, abs=1e-4)


@pytest.mark.parametrize(
    ("mean", "dead", "word"),
    [
        (0.05, {8: 0.7, 16: 0.6}, "too hard"),
        (0.95, {8: 0.7, 16: 0.6}, "too easy"),
        (0.5, {8: 0.1, 16: 0.0}, "fine"),
    ],
)
def test_advice_names_the_trouble(mean: float, dead: dict[int, float], word: str) -> None:
    assert advise(mean, dead, 8, [mean])[0].startswith(word)


def test_advice_names_the_way_out() -> None:
    more = advise(0.5, {8: 0.5, 16: 0.2}, 8, [0.5])
    assert "with 8 generations 50% of the groups are dead, with 16 20%" in more
    assert "grpo.oversample: 2.0 fills a step with groups that differ" in more
    several = advise(0.5, {8: 0.5, 16: 0.2}, 8, [0.5], processes=2)  # where a recipe may not oversample
    assert "50% of the groups are dead: choose prompts with grpo.scan: [0.05, 0.95]" in several
    assert "grpo.scan" in advise(0.5, {8: 0.7, 16: 0.6}, 8, [0.0, 0.5, 1.0])[1]
    assert "take other prompts" in advise(0.5, {8: 1.0, 16: 1.0}, 8, [0.0, 1.0])[1], "grpo.scan would keep none"
    assert advise(0.5, {4: 0.2, 8: 0.1}, 8, [0.5])[1].startswith("4 generations would do")


def run_with(tmp_path: Path, bounds: list[float], **more: Any) -> Any:
    raw = {
        "task": "datetime_extraction_plain",
        "output": str(tmp_path / "run"),
        "model": {"reference": "x/y"},
        "data": {"sft": 1, "grpo": 8, "test": 1},
        "grpo": {"prompts": 2, "generations": 2, "batch_size": 4, "scan": bounds},
        **more,
    }
    return open_run(check_recipe(raw, "here"))


def test_prompts_are_chosen_by_the_stored_rates(tmp_path: Path) -> None:
    run = run_with(tmp_path, [0.1, 0.9])
    examples = [Example(name, ({"role": "user", "content": "?"},), ("x",)) for name in "abcd"]
    with pytest.raises(UserError, match="has no scan; first: toolkit scan"):
        within(run, examples, (0.1, 0.9))
    (run.dir / "scan").mkdir()
    report = {**STORED, "rates": {"a": 0.0, "b": 0.5, "c": 0.9}}
    (run.dir / "scan" / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert [each.id for each in within(run, examples, (0.1, 0.9))] == ["b", "c"]  # d was never scanned
    with pytest.raises(UserError, match="1 of 3 scanned prompts are within, a step needs 2"):
        within(run, examples, (0.8, 1.0))
    more: dict[str, Any] = {"prompts": 2, "generations": 2, "batch_size": 4, "oversample": 2}
    wider = Run(run.dir, run.recipe.model_copy(update={"grpo": GrpoConfig(**more)}))
    with pytest.raises(UserError, match=r"2 of 3 scanned prompts are within, a step needs 4 \(grpo\.oversample\)"):
        within(wider, examples, (0.1, 0.9))


@pytest.mark.parametrize("bounds", [[0.9, 0.1], [0.5, 0.5], [-0.1, 0.5], [0.5, 1.5]])
def test_bounds_that_hold_nothing_are_refused(tmp_path: Path, bounds: list[float]) -> None:
    with pytest.raises(UserError, match=r"grpo\.scan"):
        run_with(tmp_path, bounds)


def test_a_scan_is_stored_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the prompts to the report; the engine is a stand-in that answers every second sample of a prompt right."""
    from toolkit.data import read_examples, write_examples
    from toolkit.models import ResolvedModel
    from toolkit.scan import scan, scan_grid
    from toolkit.stages import task_of

    run = run_with(tmp_path, [0.1, 0.9])
    write_examples(run.dir / "data" / "grpo.jsonl", task_of(run.recipe).examples("train", 6, 0))
    asked: dict[str, Any] = {}

    def evaluate(task: Any, examples: Any, **given: Any) -> Any:
        from dataclasses import replace

        from eval.records import write_records

        asked.update(given, examples=[each.id for each in examples])
        rewards = dict.fromkeys(task.rewards, 1.0)
        found = [
            replace(
                record(each.id, n, right=n % 2 == 0), rewards=rewards if n % 2 == 0 else dict.fromkeys(rewards, 0.0)
            )
            for each in examples
            for n in range(given["sampling"].n)
        ]
        given["out_dir"].mkdir(parents=True)
        write_records(given["out_dir"] / "records.jsonl", found)
        return SimpleNamespace(invalid=())

    monkeypatch.setattr("toolkit.scan.evaluate", evaluate)
    monkeypatch.setattr("toolkit.stages.resolve_model", lambda reference: ResolvedModel(tmp_path / "base"))
    found = scan(run, prompts=4, samples=8, temperature=None, engine="transformers")
    assert asked["examples"] == [each.id for each in read_examples(run.dir / "data" / "grpo.jsonl")][:4]
    assert (asked["sampling"].n, asked["sampling"].temperature, asked["engine"]) == (8, 1.0, "transformers")
    assert asked["sampling"].seed is None  # vLLM's CPU build refuses seeds
    assert asked["model"].path == tmp_path / "base"
    assert found.pass_rate == 0.5
    stored = json.loads((run.dir / "scan" / "report.json").read_text(encoding="utf-8"))
    assert stored["rates"] == dict.fromkeys(asked["examples"], 0.5)
    grid = scan_grid(found, run.dir / "scan" / "report.json")
    assert grid.title == "4 prompts, 8 samples each at temperature 1"
    assert any(row[:2] == ("0.5-0.6", "4") for row in grid.rows)
    assert len(within(run, read_examples(run.dir / "data" / "grpo.jsonl"), (0.1, 0.9))) == 4


@pytest.mark.parametrize(("refused", "bears"), [(8, 0.01), (1, 0.1)])
def test_what_the_engine_refused_is_no_wrong_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int, bears: float
) -> None:
    """The engine gives all samples of a prompt or none; those that it gives are right, but one, which is cut."""
    from rewards.response import render
    from toolkit.data import write_examples
    from toolkit.models import ResolvedModel
    from toolkit.scan import scan
    from toolkit.stages import task_of

    run = run_with(tmp_path, [0.1, 0.9], eval={"max_failed": bears})
    examples = list(task_of(run.recipe).examples("train", 16, 0))
    write_examples(run.dir / "data" / "grpo.jsonl", examples)
    said = [render("", each.answers[0]) for each in examples[refused:]]
    said[0] = "so " * 1000
    rows = [
        {"id": each.id, "completion": text} for each, text in zip(examples[refused:], said, strict=True) for _ in "ab"
    ]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setattr("toolkit.stages.resolve_model", lambda reference: ResolvedModel(tmp_path / "said.jsonl"))
    if refused == 8:
        with pytest.raises(UserError, match=r"failed on 16 of 32 completions.*eval\.max_failed") as caught:
            scan(run, prompts=16, samples=2, temperature=None, engine="scripted")
        assert caught.value.exit_code == 13
        assert not (run.dir / "scan" / "report.json").exists()
        return
    found = scan(run, prompts=16, samples=2, temperature=None, engine="scripted")
    assert (found.prompts, len(found.rates), found.samples) == (16, 15, 2)
    assert found.rates == {each.id: float(each.id != examples[1].id) for each in examples[1:]}
    assert found.pass_rate == pytest.approx(14 / 15)


TASK_FILE = """\
from rewards.core import Example
from tasks.base import Task

def exact(completion, example):
    return float(completion{strip} in example.answers)

def examples(split, n, seed):
    for i in range(n):
        yield Example(f"{{split}}-{{i}}", ({{"role": "user", "content": f"{{split}} {{i}}?"}},), (str(i),))

TASK = Task("numbers", "1", examples, {{"exact": (exact, 1.0)}}, exact)
"""


def test_a_scan_is_scored_again_after_a_change_of_the_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prompts aren't the first of their split: those of SFT come before them."""
    from eval.rescore import rescore, write_rescored
    from toolkit.models import ResolvedModel
    from toolkit.scan import scan
    from toolkit.stages import ensure, task_of

    file = tmp_path / "numbers.py"
    file.write_text(TASK_FILE.format(strip=""), encoding="utf-8")
    data = {"sft": 5, "grpo": 8, "validation": 1, "test": 1}
    run = run_with(tmp_path, [0.1, 0.9], task=str(file), data=data)
    ensure(run, "data", print)
    rows = [{"id": f"train-{i}", "completion": f"{i}{end}"} for i in range(5, 13) for end in (".", "")]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setattr("toolkit.stages.resolve_model", lambda reference: ResolvedModel(tmp_path / "said.jsonl"))
    how: dict[str, Any] = {"prompts": 4, "samples": 2, "temperature": None, "engine": "scripted"}
    assert scan(run, **how).pass_rate == 0.5
    file.write_text(TASK_FILE.format(strip=".rstrip('.')"), encoding="utf-8")
    with pytest.raises(UserError, match=r"toolkit rescore .*/scan\), and put the new directory in its place"):
        scan(run, **how)
    task = task_of(run.recipe)
    write_rescored(rescore(run.dir / "scan", task), task, tmp_path / "again")
    (run.dir / "scan").rename(tmp_path / "old")
    (tmp_path / "again").rename(run.dir / "scan")
    assert scan(run, **how).pass_rate == 1


def refused_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str], sections: str) -> str:
    """What the verb says of a recipe with these sections, which it can't scan."""
    from toolkit.cli import main

    text = f"task: datetime_extraction_plain\noutput: {tmp_path / 'run'}\nmodel: {{reference: x/y}}\n{sections}"
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["scan", str(tmp_path / "recipe.yaml")])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_the_verb_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sections = (
        "data: {sft: 1, grpo: 8, validation: 1, test: 1}\nsft: {}\ngrpo: {prompts: 2, generations: 2, batch_size: 4}\n"
    )
    assert "has no finished SFT stage to scan; first: toolkit sft" in refused_scan(tmp_path, capsys, sections)


def test_the_verb_looks_for_the_section_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sections = "data: {sft: 8, grpo: 1, validation: 1, test: 1}\nsft: {}\n"
    assert "the recipe has no section grpo" in refused_scan(tmp_path, capsys, sections)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("accept", ["", "groups"])
def test_what_the_verb_advises_is_what_grpo_lets_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], accept: str
) -> None:
    from toolkit.cli import main
    from toolkit.models import ResolvedModel

    (tmp_path / "numbers.py").write_text(TASK_FILE.format(strip=""), encoding="utf-8")
    text = (
        f"task: {tmp_path / 'numbers.py'}\noutput: {tmp_path / 'run'}\nmodel: {{reference: x/y}}\n"
        "data: {sft: 1, grpo: 8, validation: 1, test: 1}\neval: {engine: scripted}\n"
        f"grpo: {{prompts: 2, generations: 2, batch_size: 4}}\npreflight: {{accept: [{accept}]}}\n"
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    rows = [{"id": f"train-{i}", "completion": "no"} for i in range(1, 9) for _ in "ab"]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setattr("toolkit.stages.resolve_model", lambda reference: ResolvedModel(tmp_path / "said.jsonl"))
    with pytest.raises(SystemExit) as ended:
        main(["scan", str(recipe), "--samples", "2"])
    assert not ended.value.code
    next_line = capsys.readouterr().err.splitlines()[-1]
    if accept:
        assert next_line == f"next: toolkit grpo {recipe}"
        return
    assert next_line.startswith("next: not GRPO, whose preflight ends on such groups. too hard: 0% of the answers are")
    assert next_line.endswith(f"; or accept it: toolkit grpo {recipe} --set 'preflight.accept=[groups]'")


def test_a_run_scans_by_itself_unless_it_has_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit import scan as module
    from toolkit.stages import ensure

    run = run_with(tmp_path, [0.1, 0.9])
    records = [record("a", n, right=n < 2) for n in range(4)]
    found = judge(records, {"exact": 1.0, "format": 0.1}, run.recipe.grpo, 1.0)
    asked: list[tuple[int, int]] = []

    def scan(run: Any, prompts: int, samples: int, *_: Any) -> Any:
        asked.append((prompts, samples))
        return found

    monkeypatch.setattr(module, "scan", scan)
    ensure(run, "scan", print)
    assert asked == [(run.recipe.data.grpo, 4)]
    assert run.facts("scan")["pass_rate"] == found.pass_rate


@pytest.mark.parametrize(
    ("numbers", "begun", "again"),
    [
        ({}, False, False),
        ({"samples": 8}, False, False),
        ({"prompts": 2}, False, True),
        ({"samples": 2}, False, True),
        ({"temperature": 0.01}, False, True),
        ({"temperature": 0.01}, True, False),  # its prompts are what GRPO trains on
    ],
)
def test_a_scan_by_hand_stands_for_the_runs_where_it_tells_as_much(
    tmp_path: Path, numbers: dict[str, Any], begun: bool, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At another temperature, and of two samples, other prompts seem to teach something."""
    from toolkit import scan as module
    from toolkit.stages import ensure

    run = run_with(tmp_path, [0.1, 0.9])
    found = judge([record("a", n, right=n < 2) for n in range(4)], {"exact": 1.0, "format": 0.1}, run.recipe.grpo, 1.0)
    (run.dir / "scan").mkdir()
    report = {**STORED, "prompts": 8, **numbers}
    (run.dir / "scan" / "report.json").write_text(json.dumps(report), encoding="utf-8")
    if begun:
        (run.dir / "grpo" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    asked: list[Any] = []
    said: list[str] = []

    def scan(*arguments: Any) -> Any:
        asked.append(arguments)
        return found

    monkeypatch.setattr(module, "scan", scan)
    ensure(run, "scan", said.append)
    assert bool(asked) is again
    (line,) = [line for line in said if "anew" in line] or [""]
    has = "scan: anew, the stored one has {prompts} prompts, {samples} samples each, at temperature {temperature:g}; "
    assert line == again * (has.format(**report) + "GRPO goes by 8, 4 or more, at 1")


def with_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with its data, whose model is a script of four samples for each prompt of GRPO: two right, two wrong."""
    from toolkit.models import ResolvedModel
    from toolkit.stages import ensure

    file = tmp_path / "numbers.py"
    file.write_text(TASK_FILE.format(strip=""), encoding="utf-8")
    data = {"sft": 5, "grpo": 8, "validation": 1, "test": 1}
    run: Run = run_with(tmp_path, [0.1, 0.9], task=str(file), data=data, eval={"engine": "scripted"})
    ensure(run, "data", print)
    rows = [{"id": f"train-{i}", "completion": str(i * (n % 2))} for i in range(5, 13) for n in range(4)]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setattr("toolkit.stages.resolve_model", lambda reference: ResolvedModel(tmp_path / "said.jsonl"))
    return run


@pytest.mark.parametrize(("prompts", "samples"), [(4, 2), (8, 2)])
def test_a_scan_by_hand_of_other_numbers_makes_room(
    tmp_path: Path, prompts: int, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of fewer prompts, and one that was killed half way: its records are there, its report isn't."""
    from toolkit.scan import scan
    from toolkit.stages import ensure

    run = with_a_script(tmp_path, monkeypatch)
    scan(run, prompts, samples, None, None)
    if prompts == 8:
        (run.dir / "scan" / "report.json").unlink()
    ensure(run, "scan", print)
    assert {name: run.facts("scan")[name] for name in ("prompts", "samples")} == {"prompts": 8, "samples": 4}
    assert (run.dir / "scan.1" / "records.jsonl").is_file(), "what was paid for stays"
    scan(run, 4, 2, None, None)
    assert not run.is_done("scan"), "a scan of fewer prompts doesn't stand for the stage's"
    assert (run.dir / "scan.2" / "report.json").is_file()
    ensure(run, "scan", print)
    (run.dir / "grpo" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    with pytest.raises(UserError, match=r"GRPO has begun with the prompts of its scan; .*--set output="):
        scan(run, 4, 2, None, None)
    assert run.is_done("scan")


def test_a_scan_is_judged_under_other_weights_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eval import runner
    from toolkit.scan import scan, stored_scan

    run = with_a_script(tmp_path, monkeypatch)
    first = scan(run, 8, 4, None, None)
    (name,) = first.weights
    monkeypatch.setattr(runner, "load_engine", lambda *_: pytest.fail("an engine was loaded"))
    other = Run(run.dir, run.recipe.model_copy(update={"rewards": {name: 0.5}}))
    assert scan(other, 8, 4, None, None).weights == {name: 0.5}
    stored = stored_scan(other)
    assert stored is not None
    assert stored["weights"] == {name: 0.5}
    assert not (run.dir / "scan.1").exists()
