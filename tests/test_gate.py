"""The gate: baseline files, gates.toml, verdicts and exit codes, reports, false alarms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.jsonl import read_jsonl
from eval.compare import compare
from eval.differences import METRICS, Item
from eval.engines.base import Sampling
from eval.gating.reports import report_grid, to_junit, to_markdown
from eval.gating.rules import Gate, Rules, read_rules
from eval.gating.scores import Scores, read_scores, write_baseline
from eval.gating.verdicts import Report, check, judge
from eval.tables import to_text
from eval.validity import DEFAULT_LIMITS, Counts
from rewards.core import Example, Reward, UserError
from rewards.response import parse, render
from tasks.base import Task
from tests.commands import Toolkit
from tests.scripted import evaluate_script


def exact(completion: str, example: Example) -> float:
    return float(parse(completion).answer in example.answers)


def brief(completion: str, example: Example) -> float:
    return 0.5 if len(completion) < 60 else 0.25


def examples(n: int, groups: int) -> list[Example]:
    return [
        Example(
            id=f"e{i}",
            messages=({"role": "user", "content": f"what is {i}?"},),
            answers=(str(i),),
            tags={"parity": "odd" if i % 2 else "even"},
            group=f"g{i % groups}" if groups else "",
        )
        for i in range(n)
    ]


def run(
    directory: Path,
    said: Sequence[str | None],
    *,
    groups: int = 0,
    version: str = "1",
    samples: int = 1,
    limit: int = 9,
    metric: Reward = exact,
    reward: Reward = brief,
) -> Path:
    """Evaluate a scripted model. said: "right", another text, or None for an engine's error."""
    chosen = Task("echo", version, lambda split, n, seed: iter(()), {"brief": (reward, 0.1)}, metric)
    texts = [render("", str(i)) if text == "right" else text for i, text in enumerate(said)]
    sampling = Sampling(max_tokens=limit, n=samples, temperature=float(samples > 1))
    evaluate_script(directory, chosen, examples(len(said), groups), texts, sampling)
    return directory


def words(right: Sequence[bool], otherwise: str = "no") -> list[str]:
    return ["right" if ok else otherwise for ok in right]


def gates(folder: Path, text: str) -> Path:
    path = folder / "gates.toml"
    path.write_text(text, encoding="utf-8")
    return path


NON_INFERIOR = '[[gate]]\nkind = "non_inferior"\nmargin = 0.02\n'
HALF = [i % 2 == 0 for i in range(300)]


def outcome(folder: Path, rules: str, baseline: Sequence[bool], candidate: Sequence[bool]) -> Report:
    first, second = run(folder / "first", words(baseline)), run(folder / "second", words(candidate))
    write_baseline(first, folder / "baseline.json")
    return check(gates(folder, rules), second, folder / "baseline.json")


def test_a_baseline_file_holds_the_scores_of_its_run(tmp_path: Path) -> None:
    directory = run(tmp_path / "run", words(HALF), groups=50)
    write_baseline(directory, tmp_path / "baseline.json")
    assert read_scores(tmp_path / "baseline.json") == read_scores(directory)
    lines = (tmp_path / "baseline.json").read_text(encoding="utf-8").splitlines()
    # an example a line: a changed score is one line of a diff
    assert sum(line.startswith('    "e') for line in lines[lines.index('  "items": {') :]) == 300
    assert max(map(len, lines)) < 120
    assert "what is" not in "".join(lines)


def test_a_baseline_takes_the_place_of_its_own_kind_only(tmp_path: Path) -> None:
    directory, out = run(tmp_path / "run", words(HALF)), tmp_path / "b.json"
    for _ in range(2):
        write_baseline(directory, out)
    out.write_text(out.read_text(encoding="utf-8").replace('"echo"', '"money"'), encoding="utf-8")
    other = "b.json is the baseline of another task, 'money', and the evaluation is of 'echo'; choose another --out"
    for name, text, says in ((out, "", other), (tmp_path / "task.yaml", "a: b\n", "is there and no baseline; choose")):
        if text:
            name.write_text(text, encoding="utf-8")
        before = name.read_bytes()
        with pytest.raises(UserError, match=says):
            write_baseline(directory, name)
        assert name.read_bytes() == before


def test_the_reports_of_a_gate_overwrite_nothing_that_it_reads(toolkit: Toolkit, tmp_path: Path) -> None:
    directory, rules = run(tmp_path / "run", words(HALF)), gates(tmp_path, NON_INFERIOR)
    write_baseline(directory, tmp_path / "b.json")
    read = ["gate", "--run", directory, "--gates", rules, "--baseline", tmp_path / "b.json"]
    for option, path in (("--markdown", rules), ("--junit", tmp_path / "b.json")):
        before = path.read_bytes()
        error = toolkit(*read, option, path).error
        assert error == f"{option} {path}: would overwrite what is read ({path}); choose another {option}"
        assert path.read_bytes() == before


def test_a_mean_of_three_samples_survives_the_file(tmp_path: Path) -> None:
    directory = run(tmp_path / "run", words(HALF[:3]), samples=3)
    rows = read_jsonl(directory / "records.jsonl")
    rows[0]["score"] = 0.0
    (directory / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_baseline(directory, tmp_path / "baseline.json")
    assert read_scores(tmp_path / "baseline.json").items["e0"].values["exact"] == 2 / 3
    assert read_scores(tmp_path / "baseline.json") == read_scores(directory)


def test_the_same_model_passes(tmp_path: Path) -> None:
    report = outcome(tmp_path, NON_INFERIOR, HALF, HALF)
    assert (report.outcome, report.exit_code) == ("pass", 0)


def test_a_regression_fails_and_names_what_was_lost(tmp_path: Path) -> None:
    report = outcome(tmp_path, NON_INFERIOR, HALF, [ok and i % 8 > 0 for i, ok in enumerate(HALF)])
    assert (report.outcome, report.exit_code) == ("fail", 10)
    (each,) = report.judgements
    assert each.lost[:3] == ("e0", "e8", "e16")
    assert each.high < each.limit == -0.02
    assert each.p_fail < 0.025


def test_a_small_loss_on_few_examples_is_inconclusive(tmp_path: Path) -> None:
    report = outcome(tmp_path, NON_INFERIOR, HALF[:60], [ok and i > 2 for i, ok in enumerate(HALF[:60])])
    assert (report.outcome, report.exit_code) == ("inconclusive", 11)
    assert (report.judgements[0].examples_needed or 0) > 60


@pytest.mark.parametrize(("gain", "expected"), [(60, "pass"), (0, "inconclusive"), (-60, "fail")])
def test_superior(tmp_path: Path, gain: int, expected: str) -> None:
    candidate = [(ok or i < gain) and i >= -gain for i, ok in enumerate(HALF)]
    assert outcome(tmp_path, '[[gate]]\nkind = "superior"\n', HALF, candidate).outcome == expected


def test_groups_more_even_than_chance_pass_no_more_than_compare_calls_better(tmp_path: Path) -> None:
    """Three gained and two lost in each of twenty groups: sign flips are sure, exact McNemar (60 and 40) is not."""
    rows = [replace(each, group=f"g{i % 20}" if i < 100 else "") for i, each in enumerate(examples(500, 0))]
    chosen = Task("echo", "1", lambda split, n, seed: iter(()), {"brief": (brief, 0.1)}, exact)
    for name, wrong in (("first", range(60)), ("second", range(60, 100))):
        texts = ["no" if i in wrong else render("", str(i)) for i in range(500)]
        evaluate_script(tmp_path / name, chosen, rows, texts, Sampling(max_tokens=9))
    rules = gates(tmp_path, '[[gate]]\nkind = "superior"\n')
    report = check(rules, tmp_path / "second", tmp_path / "first")
    assert compare(tmp_path / "first", tmp_path / "second").verdict == "can't tell"
    assert report.judgements[0].low > 0
    assert report.outcome == "inconclusive"


@pytest.mark.parametrize(("gain", "expected"), [(5, "inconclusive"), (6, "pass"), (-5, "inconclusive"), (-6, "fail")])
def test_no_difference_is_tested_as_compare_tests_it(tmp_path: Path, gain: int, expected: str) -> None:
    """5 gained and 0 lost of 200 are p = 0.0625 for compare, and were a pass: the interval alone excludes 0."""
    candidate = [i < 100 + gain for i in range(200)]
    report = outcome(tmp_path, '[[gate]]\nkind = "superior"\n', [i < 100 for i in range(200)], candidate)
    assert report.outcome == expected
    verdict = compare(tmp_path / "first", tmp_path / "second").verdict
    assert verdict == {"inconclusive": "can't tell", "pass": "better", "fail": "worse"}[expected]
    (each,) = report.judgements
    assert each.low > 0 or each.high < 0
    if expected == "inconclusive":
        assert each.examples_needed is None
        above = report_grid(report).lines[1]
        assert (
            "; beyond the limit, but sign flips give p = 0.062" if gain > 0 else "; beyond the limit, but p = 0.031"
        ) in above


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ('kind = "at_least"\nbound = 0.4', "pass"),
        ('kind = "at_least"\nbound = 0.48', "inconclusive"),
        ('kind = "at_least"\nbound = 0.6', "fail"),
        ('kind = "at_most"\nbound = 0.6', "pass"),
        ('kind = "at_most"\nbound = 0.4', "fail"),
        ('kind = "at_most"\nmetric = "truncated"\nbound = 0.02', "pass"),
        ('kind = "at_least"\nmetric = "format"\nbound = 0.6', "fail"),
        ('kind = "at_least"\nmetric = "reward:brief"\nbound = 0.4', "pass"),
        ('kind = "at_least"\nslice = "parity=even"\nbound = 0.9', "pass"),
        ('kind = "at_most"\nslice = "parity=odd"\nbound = 0.1', "pass"),
    ],
)
def test_bounds_need_no_baseline(tmp_path: Path, gate: str, expected: str) -> None:
    report = check(gates(tmp_path, f"[[gate]]\n{gate}\n"), run(tmp_path / "run", words(HALF)))
    assert report.outcome == expected
    with pytest.raises(UserError, match="give --baseline FILE"):
        check(gates(tmp_path, NON_INFERIOR), tmp_path / "run")


def test_more_truncation_is_worse(tmp_path: Path) -> None:
    rules = '[[gate]]\nkind = "non_inferior"\nmetric = "truncated"\nmargin = 0.02\n[valid]\nmax_truncated = 1\n'
    long = "word " * 20
    first = run(tmp_path / "first", words(HALF))
    second = run(tmp_path / "second", words(HALF, long))
    assert check(gates(tmp_path, rules), second, first).outcome == "fail"
    assert check(gates(tmp_path, rules), first, second).outcome == "pass"


def test_each_makes_a_gate_a_value_and_a_bad_slice_fails_alone(tmp_path: Path) -> None:
    rules = NON_INFERIOR + 'each = "parity"\n'
    report = outcome(tmp_path, rules, HALF, [ok and i % 8 > 0 for i, ok in enumerate(HALF)])
    assert [(each.gate.slice, each.verdict) for each in report.judgements] == [
        ("parity=even", "fail"),
        ("parity=odd", "inconclusive"),  # 150 without a flip: 0.02 isn't shown
    ]


def test_three_broken_groups_show_only_where_they_are_all_there_is(tmp_path: Path) -> None:
    first = run(tmp_path / "first", words([True] * 90), groups=3)
    second = run(tmp_path / "second", words([i % 3 > 0 for i in range(90)]), groups=3)
    report = check(gates(tmp_path, NON_INFERIOR), second, first)
    assert report.outcome == "inconclusive"
    assert "only 3 groups" in to_markdown(report)
    assert check(gates(tmp_path, NON_INFERIOR + 'unit = "example"\n'), second, first).outcome == "fail"


def test_other_examples_are_not_comparable_and_named(tmp_path: Path) -> None:
    first, second = run(tmp_path / "first", words(HALF)), run(tmp_path / "second", words(HALF), version="2")
    report = check(gates(tmp_path, NON_INFERIOR), second, first)
    assert (report.outcome, report.exit_code) == ("not comparable", 12)
    assert report.reasons == ("task_version: '1' in the baseline, '2' in the run",)
    shorter = check(gates(tmp_path, NON_INFERIOR), run(tmp_path / "third", words(HALF[:50])), first)
    assert any(reason.startswith("examples: ") for reason in shorter.reasons)


def half(completion: str, example: Example) -> float:
    return 0.5 * exact(completion, example)


def half_of_later(completion: str, example: Example) -> float:
    return exact(completion, example) * (0.5 if example.id in ("e4", "e5", "e6", "e7") else 1)


half_of_later.__qualname__ = exact.__qualname__


def test_another_scorer_is_not_comparable(tmp_path: Path) -> None:
    """As in compare: nothing that is kept of the scorer says so, the same was said, and the scores aren't the same."""
    first = run(tmp_path / "first", words([True] * 8 + [False] * 8), samples=2)
    write_baseline(first, tmp_path / "baseline.json")
    rules = gates(tmp_path, NON_INFERIOR)
    second = run(tmp_path / "second", words([True] * 16), samples=2, metric=half_of_later)
    for baseline in (first, tmp_path / "baseline.json"):
        report = check(rules, second, baseline)
        assert (report.outcome, report.exit_code) == ("not comparable", 12)
        (reason,) = report.reasons
        assert reason.startswith("4 examples have the same completion and another score: the scorer isn't the same; ")
    assert check(rules, first, tmp_path / "baseline.json").notes == ()


def test_a_tags_value_stays_in_its_cell(tmp_path: Path) -> None:
    """A cell of a CSV may hold line breaks, names and addresses; a report on a pull request shows them as text."""
    bad = "x\n\n# HEAD\t<img src=a> @org/team https://a.b www.a.b $y$ ~~z~~ &lt;"
    directory = run(tmp_path / "run", words(HALF))
    path = directory / "records.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"odd"', json.dumps(bad)), encoding="utf-8")
    report = check(gates(tmp_path, '[[gate]]\nkind = "at_least"\nbound = 0.1\neach = "parity"\n'), directory)
    lines = to_markdown(report).splitlines()
    found = [line for line in lines if "HEAD" in line]
    assert [line[:2] for line in found] == ["| ", "- "], "of a row, and of what is said of it"
    told = r"x \# HEAD \<img src=a\> @{}org/team https\://a.b www\.a.b \$y\$ \~\~z\~\~ \&lt;".format("\u200b")
    assert told in found[0]
    text = to_text(report_grid(report)).splitlines()
    assert [line.count("\t") for line in text if "HEAD" in line] == [7, 0]


@pytest.mark.parametrize(("first", "second"), [(0, 50), (50, 0)])
def test_other_groups_are_not_comparable(tmp_path: Path, first: int, second: int) -> None:
    write_baseline(run(tmp_path / "first", words(HALF), groups=first), tmp_path / "baseline.json")
    candidate = run(tmp_path / "second", words(HALF), groups=second)
    report = check(gates(tmp_path, NON_INFERIOR), candidate, tmp_path / "baseline.json")
    assert (report.outcome, report.exit_code) == ("not comparable", 12)
    assert report.reasons[0].startswith("300 examples are of other groups")
    assert report.reasons[0].endswith("then write the baseline again")


def test_other_tags_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    candidate = run(tmp_path / "run", words(HALF))
    write_baseline(candidate, path)
    path.write_text(path.read_text(encoding="utf-8").replace('"parity"', '"sign"'), encoding="utf-8")
    report = check(gates(tmp_path, NON_INFERIOR), candidate, path)
    assert "tags of 300 examples differ: slices are the base's" in report.notes


def test_a_reward_that_no_gate_asks_for_may_change(tmp_path: Path) -> None:
    first = run(tmp_path / "first", words(HALF))
    second = run(tmp_path / "second", words(HALF), reward=half)
    assert check(gates(tmp_path, NON_INFERIOR), second, first).outcome == "pass"
    more = '[[gate]]\nkind = "at_most"\nmetric = "reward:brief"\nbound = 0.9\n'
    assert check(gates(tmp_path, NON_INFERIOR + more), second, first).outcome == "not comparable"


def test_a_baseline_from_before_completions_had_hashes_still_works(tmp_path: Path) -> None:
    first = run(tmp_path / "first", words(HALF))
    write_baseline(first, tmp_path / "baseline.json")
    row = json.loads((tmp_path / "baseline.json").read_text(encoding="utf-8"))
    row["format"] = 1
    del row["identity"]["metric"], row["identity"]["rewards"]
    row["items"] = {key: item[:4] for key, item in row["items"].items()}
    (tmp_path / "baseline.json").write_text(json.dumps(row), encoding="utf-8")
    for directory in (first, run(tmp_path / "second", words(HALF), metric=half)):
        report = check(gates(tmp_path, NON_INFERIOR), directory, tmp_path / "baseline.json")
        assert report.outcome == ("pass" if directory == first else "fail")
        assert report.notes[0].startswith("the baseline doesn't hold hashes of its completions")


def test_other_prompts_need_a_word(tmp_path: Path) -> None:
    first, second = run(tmp_path / "first", words(HALF)), run(tmp_path / "second", words(HALF))
    manifest = json.loads((second / "manifest.json").read_text(encoding="utf-8"))
    manifest["identity"]["prompts"] = "of another tokenizer"
    (second / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert check(gates(tmp_path, NON_INFERIOR), second, first).exit_code == 12
    assert check(gates(tmp_path, "same_prompts = false\n" + NON_INFERIOR), second, first).exit_code == 0


def test_an_invalid_run_has_no_figures(tmp_path: Path) -> None:
    first = run(tmp_path / "first", words(HALF))
    cut = check(gates(tmp_path, NON_INFERIOR), run(tmp_path / "cut", words(HALF, "word " * 20)), first)
    assert (cut.outcome, cut.exit_code) == ("invalid run", 13)
    assert cut.reasons[0].startswith("150 of 300 completions were cut at the token limit, the limit is 10%")
    some = run(tmp_path / "failed", [None, *words(HALF[1:])])
    strict = check(gates(tmp_path, NON_INFERIOR + "[valid]\nmax_failed = 0\n"), some, first)
    assert strict.reasons[0].startswith("the engine failed on 1 of 300 completions")
    assert check(gates(tmp_path, NON_INFERIOR), some, first).exit_code == 0
    records = first / "records.jsonl"
    records.write_text("".join(records.read_text(encoding="utf-8").splitlines(keepends=True)[5:]), encoding="utf-8")
    missing = check(gates(tmp_path, NON_INFERIOR), first, some)
    assert missing.reasons[0].startswith("5 of 300 completions are missing")
    with pytest.raises(UserError, match="no baseline: 5 of 300") as caught:
        write_baseline(first, tmp_path / "baseline.json")
    assert caught.value.exit_code == 13


def test_missing_examples_count_as_wrong(tmp_path: Path) -> None:
    first, second = (run(tmp_path / name, words([True] * 300)) for name in ("first", "second"))
    records = second / "records.jsonl"
    records.write_text("".join(records.read_text(encoding="utf-8").splitlines(keepends=True)[60:]), encoding="utf-8")
    rules = gates(tmp_path, NON_INFERIOR + "[valid]\nmax_missing = 0.5\n")
    assert check(rules, second, first).judgements[0].run == 0.8


def test_a_missing_baseline_is_to_be_written(tmp_path: Path) -> None:
    report = check(gates(tmp_path, NON_INFERIOR), run(tmp_path / "run", words(HALF)), tmp_path / "gone.json")
    said = to_markdown(report)
    assert "toolkit baseline write RUN --out FILE" in said
    assert "to its end" not in said


def test_a_run_for_an_evaluation_is_wrong_use(toolkit: Toolkit, tmp_path: Path) -> None:
    """Not 14: nothing is missing, another directory was meant. So does `toolkit compare` have it."""
    (tmp_path / "eval").mkdir()
    tuned = run(tmp_path / "eval" / "tuned", words(HALF))
    (tmp_path / "manifest.json").write_text('{"task": "echo"}', encoding="utf-8")
    rules, junit = gates(tmp_path, NON_INFERIOR), tmp_path / "gate.xml"
    for given in (
        ("gate", "--run", tmp_path, "--baseline", tuned, "--gates", rules, "--junit", junit),
        ("gate", "--run", tuned, "--baseline", tmp_path, "--gates", rules),
        ("baseline", "write", tmp_path, "--out", tmp_path / "baseline.json"),
    ):
        done = toolkit(*given)
        assert (done.code, done.error) == (2, f"{tmp_path}: a run, not an evaluation; give one of {tuned}")
    assert "a run, not an evaluation" in junit.read_text(encoding="utf-8")
    (tuned / "manifest.json").unlink()
    assert toolkit("baseline", "write", tmp_path, "--out", tmp_path / "baseline.json").code == 14
    (tmp_path / "recipe.yaml").touch()
    done = toolkit("baseline", "write", tmp_path, "--out", tmp_path / "baseline.json")
    assert (done.code, done.error) == (
        2,
        f"{tmp_path}: a run, not an evaluation, and it has none yet: `toolkit run` makes them",
    )


@pytest.mark.parametrize("broken", ["summary.json", "manifest.json", "records.jsonl", "all", "baseline"])
def test_what_cant_be_read_is_infrastructure(tmp_path: Path, broken: str) -> None:
    first, second = run(tmp_path / "first", words(HALF)), run(tmp_path / "second", words(HALF))
    write_baseline(first, tmp_path / "baseline.json")
    if broken == "baseline":
        (tmp_path / "baseline.json").write_text('{"format": 1, "items": {"e0": []}}', encoding="utf-8")
    elif broken == "all":
        second = tmp_path / "nowhere"
    else:
        (second / broken).unlink()
    report = check(gates(tmp_path, NON_INFERIOR), second, tmp_path / "baseline.json")
    assert (report.outcome, report.exit_code) == ("infrastructure", 14)
    assert len(report.reasons) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"want at least one \[\[gate\]\] section"),
        ("alhpa = 0.05\n" + NON_INFERIOR, "unknown key 'alhpa'.*did you mean 'alpha'"),
        ("alpha = 5\n" + NON_INFERIOR, "alpha = 5: want a number from 0.0001 to 0.5"),
        ("inconclusive = 'pass'\n" + NON_INFERIOR, 'want "fail" or "skip"'),
        (NON_INFERIOR + "marign = 1\n", "gate 1: unknown key 'marign'.*did you mean 'margin'"),
        (NON_INFERIOR + "[valid]\nmax_truncate = 0.1\n", r"\[valid\] unknown key.*did you mean 'max_truncated'"),
        ("[[gate]]\nkind = 'non-inferior'\n", "kind = 'non-inferior': want one of.*did you mean 'non_inferior'"),
        ("[[gate]]\nkind = 'non_inferior'\n", "gate 1: non_inferior needs margin"),
        ("[[gate]]\nkind = 'at_least'\nmargin = 0.1\n", "at_least takes bound, not margin"),
        ("[[gate]]\nkind = 'at_least'\nbound = 1\n", "bound = 1: no sample can show that"),
        (NON_INFERIOR + "slice = 'odd'\n", 'want "tag=value"'),
        (NON_INFERIOR + "slice = 'parity=odd'\neach = 'parity'\n", "give one of them"),
        (NON_INFERIOR + "unit = 'item'\n", 'unit = .item.: want "group" or "example"'),
        (NON_INFERIOR + "metric = 'exacct'\n", "unknown metric 'exacct'.*did you mean 'exact'"),
        (NON_INFERIOR + "slice = 'parity=od'\n", "no example of the baseline has it; did you mean 'parity=odd'"),
        (NON_INFERIOR + "each = 'partiy'\n", "the baseline's tags are parity; did you mean 'parity'"),
        ("[[gate]\n", "can't be read"),
    ],
)
def test_a_bad_gates_file_names_the_key_and_the_nearest(tmp_path: Path, text: str, message: str) -> None:
    directory = run(tmp_path / "run", words(HALF[:10]))
    with pytest.raises(UserError, match=message) as caught:
        check(gates(tmp_path, text), directory, directory)
    assert caught.value.exit_code == 2


def test_each_of_a_task_without_tags_says_where_tags_come_from(tmp_path: Path) -> None:
    task = Task("echo", "1", lambda split, n, seed: iter(()), {}, exact)
    bare = [replace(each, tags={}) for each in examples(10, 0)]
    directory = evaluate_script(tmp_path / "run", task, bare, ["no"] * 10)
    with pytest.raises(
        UserError, match=r"^each = 'lang': the baseline's examples have no tags; .*tags: \[lang\] in YAML"
    ):
        check(gates(tmp_path, NON_INFERIOR + "each = 'lang'\n"), directory, directory)


def test_whichever_of_the_two_is_missing_is_what_to_make(tmp_path: Path) -> None:
    directory, gone = run(tmp_path / "run", words(HALF[:10])), tmp_path / "gone"
    rules = gates(tmp_path, NON_INFERIOR)
    (reason,) = check(rules, gone, directory).reasons
    assert reason == (
        f"{gone}: no such file; evaluate the model first: toolkit eval --model MODEL --task TASK --out {gone}"
    )
    (reason,) = check(rules, directory, gone).reasons
    assert reason == f"{gone}: no such file; write it with toolkit baseline write RUN --out FILE"
    with pytest.raises(UserError, match="evaluate the model first"):
        write_baseline(gone, tmp_path / "baseline.json")


def test_gates_that_cant_be_read_leave_no_old_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from toolkit.cli import main

    directory = run(tmp_path / "run", words(HALF[:10]))
    junit, markdown = tmp_path / "gate.xml", tmp_path / "gate.md"
    for each in (junit, markdown):
        each.write_text("an older run's: pass", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main([
            "gate", "--gates", str(gates(tmp_path, "[[gate]\n")), "--run", str(directory),
            "--junit", str(junit), "--markdown", str(markdown),
        ])  # fmt: skip
    assert ended.value.code == 2
    assert "gates.toml: can't be read" in capsys.readouterr().err
    (error,) = ElementTree.fromstring(junit.read_text(encoding="utf-8").split("\n", 1)[1]).iter("error")
    assert "gates.toml: can't be read" in (error.text or "")
    assert markdown.read_text(encoding="utf-8").startswith("## Model gate: infrastructure")


def test_defaults(tmp_path: Path) -> None:
    rules = read_rules(gates(tmp_path, NON_INFERIOR))
    assert rules == Rules((Gate("non_inferior", margin=0.02),), 0.05, "fail", True, DEFAULT_LIMITS)


def test_junit_has_a_case_a_gate(tmp_path: Path) -> None:
    rules = NON_INFERIOR + 'each = "parity"\n[[gate]]\nkind = "at_least"\nbound = 0.2\nname = "a <floor>"\n'
    report = outcome(tmp_path, rules, HALF, [ok and i % 8 > 0 for i, ok in enumerate(HALF)])
    suite = ElementTree.fromstring(to_junit(report).split("\n", 1)[1]).find("testsuite")
    assert suite is not None
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "3", "failures": "2", "errors": "0", "skipped": "0"}
    cases = {case.get("name"): case for case in suite}
    assert list(cases)[2] == "a <floor>"
    failure = cases["exact non_inferior (margin 0.02) [parity=even]"].find("failure")
    assert failure is not None
    assert failure.get("type") == "fail"
    assert "worse on e0, e8" in (failure.text or "")
    skipping = check(gates(tmp_path, 'inconclusive = "skip"\n' + rules), tmp_path / "second", tmp_path / "first")
    assert 'failures="1" errors="0" skipped="1"' in to_junit(skipping)


def test_junit_of_what_couldnt_be_judged_is_errors(tmp_path: Path) -> None:
    report = check(gates(tmp_path, NON_INFERIOR * 2), tmp_path / "no\x00where", tmp_path / "nothing")
    root = ElementTree.fromstring(to_junit(report).split("\n", 1)[1])
    assert [error.get("type") for error in root.iter("error")] == ["infrastructure"] * 2


def test_markdown_leads_with_the_verdict(tmp_path: Path) -> None:
    report = outcome(tmp_path, NON_INFERIOR + 'name = "a|b"\n', HALF, [ok and i % 8 > 0 for i, ok in enumerate(HALF)])
    lines = to_markdown(report).splitlines()
    assert lines[0] == "## Model gate: fail"
    assert lines[2].startswith("Don't ship this model.")
    (row,) = [line for line in lines if line.startswith("| a")]
    assert row.startswith(r"| a\|b | 300 | 50.0% | 37.3% | -12.7 pt |")


def world(rng: np.random.Generator, gain: float, loss: float) -> tuple[Scores, Scores]:
    """A baseline and a run on 300 examples in 120 clusters of unequal size, flips correlated at 0.3 within."""
    sizes = np.clip(np.random.default_rng(4).lognormal(0.7, 0.7, 120).astype(int), 1, None)
    codes = np.arange(120).repeat(sizes)
    shares = np.array([gain, loss, 1 - gain - loss])
    rates = rng.dirichlet(np.maximum(shares * (1 / 0.3 - 1), 1e-6), size=120)[codes]
    chance = rng.random(len(codes))
    flip = np.where(chance < rates[:, 0], 1, np.where(chance > 1 - rates[:, 1], -1, 0))
    before = np.where(flip == 0, rng.integers(0, 2, len(codes)), flip < 0)
    identity = {"task": "t"}
    sides = [
        {
            f"e{i}": Item(f"e{i}", f"g{codes[i]}", {"lang": "abcd"[codes[i] % 4]}, "", {"exact": float(value)})
            for i, value in enumerate(values)
        }
        for values in (before, before + flip)
    ]
    base, run = (Scores(identity, "m", {}, side, Counts(len(codes), len(codes), 0, 0)) for side in sides)
    return base, run


@pytest.mark.parametrize(("gain", "loss"), [(0.1, 0.1), (0.03, 0.03)])
def test_no_more_than_5_percent_false_alarms_over_five_gates(gain: float, loss: float) -> None:
    """Nothing changed; every gate at margin 0, the hardest: a fail is a false alarm."""
    rules = Rules((Gate("non_inferior"), Gate("non_inferior", each="lang")))
    rng = np.random.default_rng(8)
    reports = [judge(rules, run, base) for base, run in (world(rng, gain, loss) for _ in range(250))]
    assert len(reports[0].judgements) == 5
    assert np.mean([report.outcome == "fail" for report in reports]) <= 0.05
    assert np.mean([report.outcome == "pass" for report in reports]) <= 0.05


@pytest.mark.parametrize(("gain", "loss"), [(0.0, 0.02), (0.01, 0.03), (0.08, 0.10)])
def test_a_loss_of_just_the_margin_passes_or_fails_at_most_5_percent(gain: float, loss: float) -> None:
    rules = Rules((Gate("non_inferior", margin=0.02),))
    rng = np.random.default_rng(9)
    outcomes = [judge(rules, run, base).outcome for base, run in (world(rng, gain, loss) for _ in range(400))]
    assert outcomes.count("pass") / 400 <= 0.05
    assert outcomes.count("fail") / 400 <= 0.05


def test_a_real_regression_is_caught_with_power() -> None:
    rules = Rules((Gate("non_inferior", margin=0.02), Gate("non_inferior", margin=0.05, each="lang")))
    rng = np.random.default_rng(10)
    reports = [judge(rules, run, base) for base, run in (world(rng, 0.02, 0.20) for _ in range(100))]
    assert np.mean([report.outcome == "fail" for report in reports]) > 0.8


def test_a_tag_that_the_baseline_lacks_is_refused_in_words(tmp_path: Path) -> None:
    baseline = run(tmp_path / "baseline", words(HALF[:10]))
    records = (baseline / "records.jsonl").read_text(encoding="utf-8")
    older = records.replace('"tags": {"parity": "odd"}', '"tags": {}').replace(
        '"tags": {"parity": "even"}', '"tags": {}'
    )
    (baseline / "records.jsonl").write_text(older, encoding="utf-8")
    candidate = run(tmp_path / "candidate", words(HALF[:10]))
    for named in ("each = 'parity'", "slice = 'parity=odd'"):
        with pytest.raises(UserError, match="the baseline"):
            check(gates(tmp_path, f"{NON_INFERIOR}{named}\n"), candidate, baseline)


@pytest.mark.parametrize(
    "damage",
    [
        {"identity": []},
        {"versions": None},
        {"completions": {"total": "x", "truncated": 0}},
        {"items": {"test-0": ["g", "h", [1] * len(METRICS), None]}},
        {"items": {"test-0": ["g", "h", [float("nan")] * len(METRICS), {}]}},
        {"items": {"test-0": ["g", "h", [1] * len(METRICS), {}, "said", "more"]}},
    ],
    ids=["identity", "versions", "completions", "tags", "nan", "more"],
)
def test_a_damaged_baseline_is_refused_in_words(tmp_path: Path, damage: dict[str, Any]) -> None:
    whole = {
        "format": 1,
        "model": "m",
        "identity": {},
        "versions": {},
        "completions": {"total": 1, "truncated": 0},
        "metrics": list(METRICS),
        "items": {"test-0": ["g", "h", [1] * len(METRICS), {}]},
    }
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(whole), encoding="utf-8")
    assert read_scores(path).model == "m"
    path.write_text(json.dumps({**whole, **damage}), encoding="utf-8")
    with pytest.raises(UserError, match="not a baseline") as caught:
        read_scores(path)
    assert caught.value.exit_code == 14
