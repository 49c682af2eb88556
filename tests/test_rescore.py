"""Stored completions under another scorer: what moves, what is kept, and whose the difference is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.compare import compare
from eval.engines.base import Sampling
from eval.manifest import MANIFEST
from eval.records import RECORDS, read_records
from eval.rescore import attribute, free_directory, rescore, write_rescored
from eval.rescore_tables import rescored_grid
from eval.summary import SUMMARY, read_summary
from eval.tables import to_text
from eval.validity import Limits
from rewards.core import Example, UserError
from rewards.response import parse, render
from tasks.base import Split, Task
from tests.scripted import evaluate_script
from toolkit.cli import main

N = 12
Answer = Callable[[int], str]


def strict(completion: str, example: Example) -> float:
    return float(parse(completion).answer in example.answers)


def lenient(completion: str, example: Example) -> float:
    """Also takes the answer with a point behind it."""
    return float(parse(completion).answer.rstrip(".") in example.answers)


def examples(split: Split, n: int, seed: int) -> Iterator[Example]:
    for i in range(n):
        turn = {"role": "user", "content": f"{split} {i}?"}
        yield Example(f"{split}-{i}", (turn,), (str(i),), group=f"g{i % 3}")  # type: ignore[arg-type]


def task(metric: Any = strict, version: str = "1", **changes: Any) -> Task:
    return replace(Task("numbers", version, examples, {"exact": (metric, 1.0)}, metric), **changes)


def run(directory: Path, answers: Sequence[str], chosen: Task | None = None, **changes: Any) -> Path:
    chosen = chosen or task()
    texts = [None if text == "-" else text for text in answers]
    sampling = changes.pop("sampling", Sampling(8))
    return evaluate_script(directory, chosen, list(chosen.examples("test", N, 0)), texts, sampling, **changes)


def answers(n_right: int, n_dotted: int) -> list[str]:
    """Right ones, then ones with a point behind, then wrong ones."""
    ends = [""] * n_right + ["."] * n_dotted
    return [render("", f"{i}{ends[i]}" if i < len(ends) else "no") for i in range(N)]


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_same_scorer_moves_nothing(tmp_path: Path) -> None:
    run(tmp_path / "e", answers(5, 3))
    found = rescore(tmp_path / "e", task())
    assert found.moved == []
    assert found.old == found.new
    assert found.new_golds == 0


def test_what_moves_where(tmp_path: Path) -> None:
    run(tmp_path / "e", [*answers(5, 3)[:10], "so on", "-"])
    before = content(tmp_path / "e")
    found = rescore(tmp_path / "e", task(lenient))
    assert [(old.id, old.status, new.status) for old, new in found.moved] == [
        (f"test-{i}", "wrong", "right") for i in (5, 6, 7)
    ]
    printed = to_text(rescored_grid(found, show=2))
    assert "right\t5\t8\t+3" in printed
    assert "wrong\t5\t2\t-3" in printed
    assert "wrong_format\t1\t1\t+0" in printed
    assert "error\t1\t1\t+0" in printed
    assert "mean score\t41.7%\t66.7%\t+25.0 pt" in printed
    assert "mean exact\t0.417\t0.667\t+0.250" in printed
    assert "3 of 12 completions moved\nwrong -> right: 3\n  test-5/0 (gold 5): 5.\n  test-6/0" in printed
    assert "test-7/" not in printed  # with the slash: the folder is pytest-7 now and then
    write_rescored(found, task(lenient, "2"), tmp_path / "new")
    assert content(tmp_path / "e") == before, "the old directory is never touched"


def test_what_was_cut_stays_cut_whatever_the_scorer(tmp_path: Path) -> None:
    run(tmp_path / "e", [render("so " * 20, str(i)) for i in range(N)])
    found = rescore(tmp_path / "e", task(lambda completion, example: 1.0))
    assert {record.status for record in found.new} == {"truncated"}


def test_the_new_directory_is_an_evaluation_that_compares(tmp_path: Path) -> None:
    for name, right in (("base", 2), ("tuned", 9)):
        run(tmp_path / name, answers(right, 3))
        found = rescore(tmp_path / name, task(lenient, "2"))
        summary = write_rescored(found, task(lenient, "2"), tmp_path / f"{name}2")
        assert read_summary(tmp_path / f"{name}2") == summary
        assert read_records(tmp_path / f"{name}2" / RECORDS) == list(found.new)
    result = compare(tmp_path / "base2", tmp_path / "tuned2")
    assert result.overall is not None
    assert (result.overall.base, result.overall.candidate) == (5 / N, 1.0)
    assert compare(tmp_path / "base", tmp_path / "tuned2").verdict == "not comparable"  # two scorers
    manifest = json.loads((tmp_path / "tuned2" / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["identity"]["task_version"] == "2"
    assert manifest["rescored"]["from"] == str(tmp_path / "tuned")
    assert manifest["rescored"]["task_version"] == "1"


def test_nothing_is_written_over(tmp_path: Path) -> None:
    run(tmp_path / "e", answers(5, 3))
    found = rescore(tmp_path / "e", task())
    for taken in ("e", "e/records.jsonl"):
        with pytest.raises(UserError, match="choose another directory"):
            write_rescored(found, task(), tmp_path / taken)
    assert free_directory(tmp_path / "e") == tmp_path / "e-rescored"
    write_rescored(found, task(), tmp_path / "e-rescored")
    assert free_directory(tmp_path / "e") == tmp_path / "e-rescored-2"


def test_accepted_limits_stay_accepted(tmp_path: Path) -> None:
    cut = [render("so " * 20, "0")] * 4
    run(tmp_path / "strict", [*cut, *answers(5, 3)[4:]])
    run(tmp_path / "kind", [*cut, *answers(5, 3)[4:]], limits=Limits(truncated=0.5))
    for name, valid in (("strict", False), ("kind", True)):
        summary = write_rescored(rescore(tmp_path / name, task()), task(), tmp_path / f"{name}2")
        assert (summary.invalid == ()) is valid
    (tmp_path / "kind" / SUMMARY).unlink()  # an evaluation that was never finished
    assert write_rescored(rescore(tmp_path / "kind", task()), task(), tmp_path / "third").invalid


def mended(split: Split, n: int, seed: int) -> Iterator[Example]:
    return (replace(each, answers=("no",)) if each.id == "test-11" else each for each in examples(split, n, seed))


def reworded(split: Split, n: int, seed: int) -> Iterator[Example]:
    for each in examples(split, n, seed):
        yield replace(each, messages=({"role": "user", "content": f"Please: {each.id}"},))


def fewer(split: Split, n: int, seed: int) -> Iterator[Example]:
    return (each for each in examples(split, n, seed) if each.id != "test-3")


def test_a_mended_gold_counts_and_is_said(tmp_path: Path) -> None:
    run(tmp_path / "e", answers(5, 3))
    found = rescore(tmp_path / "e", task(examples=mended))
    assert found.new_golds == 1
    assert [(new.id, new.status) for _, new in found.moved] == [("test-11", "right")]
    assert "1 examples have another canonical answer" in to_text(rescored_grid(found, 1))
    write_rescored(found, task(examples=mended), tmp_path / "new")
    identities = [json.loads((tmp_path / name / MANIFEST).read_text())["identity"] for name in ("e", "new")]
    assert identities[0]["examples"] != identities[1]["examples"]


@pytest.mark.parametrize(
    ("made", "says"), [(reworded, "12 examples have other prompts now"), (fewer, "has no example 'test-3' now")]
)
def test_answers_to_other_questions_arent_scored(tmp_path: Path, made: Any, says: str) -> None:
    run(tmp_path / "e", answers(5, 3))
    with pytest.raises(UserError, match=says) as caught:
        rescore(tmp_path / "e", task(examples=made))
    assert caught.value.exit_code == 12


def test_prompts_of_a_model_that_is_gone_cant_be_checked(tmp_path: Path) -> None:
    run(tmp_path / "e", answers(5, 3))
    path = tmp_path / "e" / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["identity"]["engine"] = "vllm"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert rescore(tmp_path / "e", task()).moved == []  # the same examples need no tokenizer
    with pytest.raises(UserError, match=r"can't be checked .*no tokenizer there"):
        rescore(tmp_path / "e", task(examples=mended))


def test_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.json: no such file"):
        rescore(tmp_path, task())
    run(tmp_path / "e", answers(5, 3))
    (tmp_path / "e" / RECORDS).unlink()
    with pytest.raises(UserError, match="no records there"):
        rescore(tmp_path / "e", task())


def test_the_difference_is_split_into_scorer_and_model(tmp_path: Path) -> None:
    """Old: 2 right and 3 dotted, strictly scored: 2. New: 6 right and 4 dotted, leniently: 10. Now both are lenient."""
    run(tmp_path / "old", answers(2, 3))
    run(tmp_path / "new", answers(6, 4), task(lenient, "2"))
    found = attribute(rescore(tmp_path / "new", task(lenient, "2")), rescore(tmp_path / "old", task(lenient, "2")))
    assert (found.old, found.new) == (2 / N, 10 / N)
    assert found.scorer == pytest.approx(3 / N)  # the old model's dotted ones
    assert found.model == pytest.approx(5 / N)
    assert found.old + found.scorer + found.model == pytest.approx(found.new)


def test_the_split_also_holds_under_a_third_scorer(tmp_path: Path) -> None:
    run(tmp_path / "old", answers(2, 3))
    run(tmp_path / "new", answers(6, 4), task(lenient, "2"))

    def half(completion: str, example: Example) -> float:
        return 0.5 * lenient(completion, example)

    found = attribute(rescore(tmp_path / "new", task(half)), rescore(tmp_path / "old", task(half)))
    assert found.model == pytest.approx(0.5 * 5 / N)
    assert found.old + found.scorer + found.model == pytest.approx(found.new)


def test_other_examples_cant_be_set_against(tmp_path: Path) -> None:
    run(tmp_path / "old", answers(2, 3))
    run(tmp_path / "new", answers(2, 3))
    path = tmp_path / "old" / RECORDS
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    with pytest.raises(UserError, match="11 are in both, 1 in one only") as caught:
        attribute(rescore(tmp_path / "new", task()), rescore(tmp_path / "old", task()))
    assert caught.value.exit_code == 12


TASK_FILE = """\
from rewards.core import Example
from rewards.response import parse
from tasks.base import Task

def exact(completion, example):
    return float(parse(completion).answer{strip} in example.answers)

def examples(split, n, seed):
    for i in range(n):
        yield Example(f"{{split}}-{{i}}", ({{"role": "user", "content": f"{{split}} {{i}}?"}},), (str(i),))

TASK = Task("numbers", "1", examples, {{"exact": (exact, 1.0)}}, exact)
"""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def toolkit(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(each) for each in arguments])
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    path = tmp_path / "numbers.py"
    script = tmp_path / "s.jsonl"
    rows = [{"id": f"test-{i}", "completion": text} for i, text in enumerate(answers(5, 3))]
    script.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path.write_text(TASK_FILE.format(strip=""), encoding="utf-8")
    common = ("--task", path, "--n", N, "--engine", "scripted")
    assert toolkit("eval", "--model", script, *common, "--out", tmp_path / "e")[0] == 0
    path.write_text(TASK_FILE.format(strip=".rstrip('.')"), encoding="utf-8")
    code, out, err = toolkit("rescore", tmp_path / "e", "--task", path)
    assert code == 0
    assert "3 of 12 completions moved" in out
    assert err == f"the new scores: {tmp_path / 'e-rescored'}\n"
    assert read_summary(tmp_path / "e-rescored").overall.statuses["right"] == 8
    code, out, err = toolkit("rescore", tmp_path / "e-rescored", "--task", path, "--against", tmp_path / "e")
    assert (code, err) == (0, "")
    assert "+ scorer\t+25.0 pt" in out
    assert "+ model\t+0.0 pt" in out
    code, _, err = toolkit("rescore", tmp_path / "e")
    assert code == 2
    assert "was asked of task 'numbers'; name where it is with --task" in err
    assert toolkit("rescore", tmp_path / "e", "--task", path, "--out", tmp_path / "e")[0] == 2
    assert toolkit("rescore", tmp_path / "nowhere")[0] == 2
