"""What scored an evaluation is part of what it is: two scorers are told apart though their models said other things."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eval import scorers as module
from eval.compare import Comparison, compare
from eval.gating.scores import write_baseline
from eval.gating.verdicts import check
from eval.manifest import MANIFEST
from eval.prompts import short_hash
from eval.records import RECORDS
from eval.rescore import rescore, write_rescored
from eval.scorers import scorers
from rewards.core import Example, Reward, UserError
from rewards.formats import tag_format
from rewards.numbers import number
from rewards.response import parse, render
from tasks.base import Task
from tasks.registry import load_task
from tests.scripted import evaluate_script

N = 24
ODD: Any = object()
EXAMPLES = [Example(f"test-{i}", ({"role": "user", "content": f"{i}?"},), (str(50 + i),)) for i in range(N)]


def exact(completion: str, example: Example) -> float:
    return float(parse(completion).answer in example.answers)


def late(completion: str, example: Example) -> float:
    """Another metric where no completion is asked of it, and where the model doesn't say so either."""
    return float(exact(completion, example) == 1 or (example.id == f"test-{N - 1}" and "beyond" in completion))


def task(metric: Reward = exact, **rewards: Reward) -> Task:
    some = {"exact": metric, **rewards}
    weighted = {name: (reward, 1.0) for name, reward in some.items()}
    return Task("sums", "1", lambda split, n, seed: iter(EXAMPLES[:n]), weighted, metric)


def run(directory: Path, chosen: Task, answer: str = "90") -> Path:
    return evaluate_script(directory, chosen, EXAMPLES, [render("so", answer)] * N)


def without_scorers(directory: Path) -> Path:
    """As an evaluation was before they were kept."""
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    for key in ("metric", "rewards"):
        del manifest["identity"][key]
    (directory / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return directory


def test_a_loosened_metric_is_no_better_model(tmp_path: Path) -> None:
    base = run(tmp_path / "base", task(partial(number, decimal=",")))
    loose = task(partial(number, decimal=",", tolerance=80))
    result = compare(base, run(tmp_path / "candidate", loose, "91"))
    assert (result.verdict, result.exit_code) == ("not comparable", 12)
    (reason,) = result.reasons
    assert reason.startswith('metric: number(decimal=",") ')
    assert 'and number(decimal=",", tolerance=80) ' in reason
    assert reason.endswith("the scorer isn't the same; `toolkit rescore` scores both evaluations as it does now")
    assert result.notes == (), "the reward is the metric"
    again = tmp_path / "again"
    write_rescored(rescore(base, loose), loose, again)
    assert compare(again, tmp_path / "candidate").verdict != "not comparable"


def test_a_metric_of_a_file_is_told_by_what_it_gives(tmp_path: Path) -> None:
    base, candidate = run(tmp_path / "base", task()), run(tmp_path / "candidate", task(lambda text, example: 1.0), "91")
    assert compare(base, candidate).exit_code == 12
    (tmp_path / "gates.toml").write_text('[[gate]]\nkind = "superior"\n', encoding="utf-8")
    write_baseline(base, tmp_path / "baseline.json")
    report = check(tmp_path / "gates.toml", candidate, tmp_path / "baseline.json")
    assert report.exit_code == 12
    assert report.reasons[0].startswith("metric: exact() ")
    assert report.reasons[0].endswith("; then write the baseline again")


def test_another_reward_alone_is_a_note_unless_a_gate_is_on_it(tmp_path: Path) -> None:
    base = run(tmp_path / "base", task(extra=tag_format))
    candidate = run(tmp_path / "candidate", task(extra=exact), "91")
    result = compare(base, candidate)
    assert result.verdict != "not comparable"
    assert [note for note in result.notes if note.startswith("reward:extra differs: tag_format() ")]
    gate = '[[gate]]\nkind = "non_inferior"\nmargin = 0.5\n'
    (tmp_path / "gates.toml").write_text(gate, encoding="utf-8")
    report = check(tmp_path / "gates.toml", candidate, base)
    assert report.outcome != "not comparable"
    assert report.notes[0].startswith("reward:extra differs: ")
    (tmp_path / "gates.toml").write_text(gate + 'metric = "reward:extra"\n', encoding="utf-8")
    assert check(tmp_path / "gates.toml", candidate, base).exit_code == 12


@pytest.mark.parametrize("old", ["base", "candidate"])
def test_evaluations_from_before_stay_comparable(tmp_path: Path, old: str) -> None:
    base, candidate = run(tmp_path / "base", task()), run(tmp_path / "candidate", task(), "91")
    new: Comparison = compare(base, candidate)
    without_scorers(tmp_path / old)
    assert replace(compare(base, candidate), notes=()) == replace(new, notes=())
    run(tmp_path / old, task(), "90" if old == "base" else "91")  # and may be resumed


def test_other_examples_are_one_reason_not_two(tmp_path: Path) -> None:
    others = [replace(each, id=f"{each.id}b", answers=("7",)) for each in EXAMPLES]
    by_gold = task(lambda completion, example: len(example.answers[0]) / 9)
    assert scorers(by_gold, EXAMPLES) != scorers(by_gold, others), "what one metric gives hangs on the examples"
    base = run(tmp_path / "base", by_gold)
    candidate = evaluate_script(tmp_path / "candidate", by_gold, others, ["no"] * N)
    assert not [reason for reason in compare(base, candidate).reasons if "metric" in reason]


def test_what_is_left_isnt_scored_by_another_metric(tmp_path: Path) -> None:
    """What is stored has the same score under both; resumed, the rest would not."""
    run(tmp_path / "e", task())
    lines = (tmp_path / "e" / RECORDS).read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "e" / RECORDS).write_text("".join(lines[:2]), encoding="utf-8")
    with pytest.raises(UserError, match=r"was scored otherwise, metric: exact\(\) .* and number\(\) .*toolkit rescore"):
        run(tmp_path / "e", task(number))


def test_a_change_where_no_completion_asks_goes_unseen(tmp_path: Path) -> None:
    """The limit of it: there the task's version has to say so."""
    assert scorers(task(late), EXAMPLES)["metric"].split()[1] == scorers(task(), EXAMPLES)["metric"].split()[1]


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        (lambda text, example: text.index("no such text"), "<lambda>()"),
        (lambda text, example: sys.exit(0), "<lambda>()"),
        (partial(number, tolerance=ODD), "number(tolerance="),
    ],
)
def test_an_unsound_metric_spoils_no_evaluation_here(metric: Any, told: str) -> None:
    found = scorers(task(metric), EXAMPLES)["metric"]
    assert told in found
    assert "0x" not in found, "an address is another one in each process"
    assert scorers(task(metric), EXAMPLES)["metric"] == found


def test_a_metric_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(completion: str, example: Example) -> float:
        while True:
            pass

    monkeypatch.setattr(module, "LONGEST", 0.05)
    started = time.perf_counter()
    scorers(task(hangs), EXAMPLES)
    assert time.perf_counter() - started < 2


def test_a_metric_that_varies_or_takes_long_is_known_by_its_options(tmp_path: Path) -> None:
    """A judge, say: no evaluation of it could be compared with another."""
    counted = iter(range(10_000))

    def varies(completion: str, example: Example, strict: bool = False) -> float:
        return next(counted) % 7 / 7

    assert scorers(task(varies), EXAMPLES)["metric"].endswith("varies() ?")
    one, other = (module.scorers(task(partial(varies, strict=strict)), EXAMPLES) for strict in (False, True))
    identity = {"examples": "the same"}
    assert module.other_scorers({**identity, **one}, {**identity, **one}) == []
    assert module.other_scorers({**identity, **one}, {**identity, **other})


@pytest.mark.parametrize("options", [{("a", "b"): 1}, {1: 2, "a": 3}, {None: 1, "x": {2: 3}}, {"set": {1, 2}}])
def test_any_option_can_be_told(options: Any) -> None:
    def chosen(completion: str, example: Example, by: Any = None) -> float:
        return exact(completion, example)

    assert "chosen(by={" in scorers(task(partial(chosen, by=options)), EXAMPLES)["metric"]


def test_what_redaction_hides_is_no_other_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sorts(completion: str, example: Example, by: str = "") -> float:
        return exact(completion, example)

    monkeypatch.setenv("SORT_API_KEY", "category")
    for _ in range(2):  # fresh, and resumed
        run(tmp_path / "e", task(partial(sorts, by="category"), last_token=tag_format))


def test_a_gate_on_another_figure_doesnt_ask_for_the_metric(tmp_path: Path) -> None:
    base, candidate = run(tmp_path / "base", task()), run(tmp_path / "candidate", task(number))
    gate = '[[gate]]\nkind = "non_inferior"\nmargin = 0.5\nmetric = "format"\n'
    (tmp_path / "gates.toml").write_text(gate, encoding="utf-8")
    assert check(tmp_path / "gates.toml", candidate, base).exit_code != 12


def test_it_is_the_same_in_each_process() -> None:
    code = (
        "from eval.scorers import scorers; from tasks.registry import load_task; task = load_task('order_extraction')"
        "; print(scorers(task, list(task.examples('test', 9, 0))))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_the_list_of_completions_stays() -> None:
    """Another one makes evaluations and baselines from before it not comparable."""
    texts = [text for each in EXAMPLES[:3] for text in module._completions(each, EXAMPLES[:3])]
    assert short_hash(json.dumps(texts)) == "dc4532c796d8"


def test_options_of_a_yaml_task_are_told(tmp_path: Path) -> None:
    write: Callable[[str], int] = (tmp_path / "sums.yaml").write_text
    (tmp_path / "sums.csv").write_text("q,a\n" + "".join(f"{i}?,{i}\n" for i in range(9)), encoding="utf-8")
    head = "name: sums\ndata: sums.csv\nuser: '{q}'\nanswer: a\nshares: {test: 1}\nmetric: rewards.numbers:number\n"
    found = []
    for tolerance in (0.1, 0.2):  # no completion of the list tells them apart
        write(f"{head}rewards:\n  rewards.numbers:number: {{weight: 1, tolerance: {tolerance}}}\n")
        chosen = load_task(str(tmp_path / "sums.yaml"))
        found.append(scorers(chosen, list(chosen.examples("test", 9, 0)))["metric"])
    assert [each.split()[0] for each in found] == ["number(tolerance=0.1)", "number(tolerance=0.2)"]
