"""The same `toolkit run` once more: what failed is asked again, and what can't be compared is compared again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from eval.engines.base import Completion, Request, Sampling
from eval.engines.scripted import Scripted
from tests.commands import Toolkit
from toolkit.config import load_recipe
from toolkit.rundir import open_run
from toolkit.stages import ensure

SFT = ("--set", "grpo=null")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the engine is asked, in a row; the server fails at the first of each session while FAULT is among it."""
    seen: list[str] = []
    answer = Scripted.generate

    def generate(self: Scripted, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        for place, completion in enumerate(answer(self, requests, sampling)):
            seen.append(completion.request_id)
            if place == 0 and FAULT in seen:
                completion = Completion(completion.request_id, 0, "the server failed 5 times: 429", "error", 0)
            yield completion

    monkeypatch.setattr(Scripted, "generate", generate)
    return seen


FAULT = "the server is overloaded"


def test_what_the_engine_failed_on_is_asked_again(
    toolkit: Toolkit, config: Path, trained: list[str], asked: list[str]
) -> None:
    asked.append(FAULT)
    first = toolkit("run", config, *SFT)
    assert first.code == 12
    assert "run it again to retry them" in first.out
    asked.remove(FAULT)
    assert len(asked) == 120
    before = sorted(path.name for path in (config.parent / "run" / "stages").iterdir())
    second = toolkit("run", config, *SFT)
    assert asked[120:] == ["test-0-0", "test-0-0"], "each model is asked for what it lacks, nothing else"
    assert "eval-base: again, the engine failed on 1 of its answers" in second.err
    assert "tuned against base: better" in second.out
    assert second.code == 0
    assert trained == ["sft", "merge"]
    third = toolkit("run", config, *SFT)
    assert (third.code, third.err.count("done before")) == (0, len(before))
    assert len(asked) == 122


def test_what_fails_again_can_be_asked_a_third_time(
    toolkit: Toolkit, config: Path, trained: list[str], asked: list[str]
) -> None:
    asked.append(FAULT)
    for _ in range(2):
        assert toolkit("run", config, *SFT).code == 12
    asked.remove(FAULT)
    assert toolkit("run", config, *SFT).code == 0


def test_an_evaluation_that_is_made_again_is_compared_again(toolkit: Toolkit, config: Path, trained: list[str]) -> None:
    assert toolkit("run", config, *SFT).code == 0
    run = config.parent / "run"
    (run / "stages" / "eval-tuned.json").unlink()
    shutil.rmtree(run / "eval" / "tuned")
    open_again = open_run(load_recipe(run / "recipe.yaml"))
    ensure(open_again, "eval-tuned", lambda line: None)
    assert not open_again.is_done("compare"), "killed here, the comparison of before would stand"
    said: list[str] = []
    ensure(open_again, "compare", said.append)
    assert said[0] == "compare: …"


def test_two_evaluations_that_were_scored_again_are_compared_again(
    toolkit: Toolkit, config: Path, task_file: Path, trained: list[str]
) -> None:
    """The metric changed between the two; rescoring both is what the comparison advises."""
    code = task_file.read_text(encoding="utf-8")
    assert toolkit("run", config, *SFT).code == 0
    run = config.parent / "run"
    for left in ("stages/eval-tuned.json", "stages/compare.json", "comparison.json"):
        (run / left).unlink()
    shutil.rmtree(run / "eval" / "tuned")
    looser = code.replace("completion.strip() in example.answers", "example.answers[0] in completion")
    task_file.write_text(looser, encoding="utf-8")
    done = toolkit("run", config, *SFT)
    assert (done.code, "`toolkit rescore` scores both" in done.out) == (12, True)
    for name in ("base", "tuned"):
        scored = toolkit("rescore", run / "eval" / name, "--task", task_file)
        assert scored.err.endswith(f"; in the place of {run / 'eval' / name}, the same `toolkit run` compares them\n")
        shutil.rmtree(run / "eval" / name)
        (run / "eval" / f"{name}-rescored").rename(run / "eval" / name)
    again = toolkit("run", config, *SFT)
    assert (again.code, "tuned against base: better" in again.out) == (0, True)
    assert json.loads((run / "stages" / "compare.json").read_text(encoding="utf-8"))["verdict"] == "better"


def test_a_finished_run_is_compared_again_where_other_scores_took_the_place_of_its_own(
    toolkit: Toolkit, config: Path, task_file: Path, trained: list[str]
) -> None:
    """Its table shows the scores that lie there; so does the verdict below it."""
    assert toolkit("run", config, *SFT).code == 0
    run = config.parent / "run"
    nothing = task_file.read_text(encoding="utf-8").replace("completion.strip() in example.answers", "False")
    task_file.write_text(nothing, encoding="utf-8")
    for name in ("base", "tuned"):
        toolkit("rescore", run / "eval" / name, "--task", task_file)
        shutil.rmtree(run / "eval" / name)
        (run / "eval" / f"{name}-rescored").rename(run / "eval" / name)
    again = toolkit("run", config, *SFT)
    assert "compare: again, another evaluation stands in the place of one of the two" in again.err
    assert "tuned against base: better" not in again.out
    assert "compare: done before" in toolkit("run", config, *SFT).err
