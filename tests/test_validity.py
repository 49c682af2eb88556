"""What makes an evaluation invalid, what is counted apart, and the bounds that truncation leaves open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.engines.base import Completion
from eval.records import Record, Status, score
from eval.summary import SUMMARY, read_summary, summarize, why_invalid
from eval.tables import summary_grid, to_text
from eval.validity import DEFAULT_LIMITS, Limits, check_validity, counts_of
from rewards.core import Example, UserError
from rewards.response import TAGS, render, says_nothing
from tasks.base import Task

EXAMPLE = Example("e", ({"role": "user", "content": "2 + 2?"},), ("4",))


def never(completion: str, example: Example) -> float:
    raise AssertionError(f"scored {completion!r}")


def exact(completion: str, example: Example) -> float:
    return float(completion == render("", example.answers[0]))


def status_of(text: str, metric: object = exact) -> Status:
    task = Task("t", "1", lambda split, n, seed: iter(()), {"exact": (exact, 1.0)}, exact)
    return score(task, EXAMPLE, Completion("e", 0, text, "stop", 9), "").status


def records(statuses: Sequence[Status], samples: int = 1) -> list[Record]:
    answers = {"right": "4", "wrong": "5"}
    found = []
    for i, status in enumerate(statuses):
        value, answer = float(status == "right"), answers.get(status)
        found.append(
            Record(f"e{i // samples}", i % samples, status, value, "4", answer, None, "", "stop", 1, {}, "", "")
        )
    return found


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (render("", "4"), "right"),
        (render("", "5"), "wrong"),
        ("", "no_answer"),
        (" \n", "no_answer"),
        (render("2 + 2 = 4", ""), "no_answer"),
        (render("2 + 2 = 4", " \n "), "no_answer"),
        ("<reasoning>2 + 2 = 4</reasoning>", "no_answer"),
        ("<reasoning>so the answer is 4", "no_answer"),
        ("<reasoning>a</reasoning><answer>", "no_answer"),
        ("".join(TAGS), "no_answer"),
        ("the answer is 4", "wrong_format"),
        ("<answer>4</answer>", "wrong_format"),
        (render("", "4") + render("", "4"), "wrong_format"),
        (render("", "4") + " I hope this helps!", "wrong_format"),
        ("<reasoning>a</reasoning>4", "wrong_format"),
    ],
)
def test_no_answer_wrong_format_and_wrong_are_told_apart(text: str, status: Status) -> None:
    assert status_of(text) == status


@given(st.text(st.sampled_from("<>/ab \n") | st.sampled_from(TAGS).map(lambda tag: tag[0]), max_size=60), st.data())
def test_says_nothing_takes_any_text(text: str, data: st.DataObject) -> None:
    mixed = "".join(data.draw(st.lists(st.sampled_from([*TAGS, text, " "]), max_size=8)))
    assert says_nothing(mixed) in (True, False)
    assert not says_nothing(mixed + "</reasoning>said")


@pytest.mark.parametrize("reason", ["length", "error"])
def test_what_was_cut_or_failed_is_never_read(reason: str) -> None:
    """Even where the text holds a whole, right answer: no scorer sees it, no answer is stored."""
    task = Task("t", "1", lambda split, n, seed: iter(()), {"exact": (never, 1.0)}, never)
    text = render("", "4")
    found = score(task, EXAMPLE, Completion("e", 0, text, reason, 9), "")  # type: ignore[arg-type]
    assert (found.status, found.score, found.answer) == ({"length": "truncated"}.get(reason, "error"), 0.0, None)
    assert found.rewards == {"exact": 0.0}


@pytest.mark.parametrize(
    ("statuses", "expected", "limits", "says"),
    [
        (["right"] * 100, 100, DEFAULT_LIMITS, []),
        (["wrong"] * 100, 100, DEFAULT_LIMITS, []),  # low isn't invalid
        (["truncated"] * 10 + ["right"] * 90, 100, DEFAULT_LIMITS, []),
        (["truncated"] * 11 + ["right"] * 89, 100, DEFAULT_LIMITS, ["11 of 100 completions were cut"]),
        (["truncated"] * 11 + ["right"] * 89, 100, Limits(truncated=1), []),
        (["error"] + ["right"] * 99, 100, DEFAULT_LIMITS, []),
        (["error"] * 2 + ["right"] * 98, 100, DEFAULT_LIMITS, ["the engine failed on 2 of 100"]),
        (["error"] * 2 + ["right"] * 98, 100, Limits(failed=0.5), []),
        (["right"] * 99, 100, DEFAULT_LIMITS, ["1 of 100 completions are missing, the limit is 0%"]),
        (["right"] * 99, 100, Limits(missing=0.01), []),
        ([], 100, DEFAULT_LIMITS, ["100 of 100 completions are missing"]),
        (
            ["truncated", "error"],
            3,
            DEFAULT_LIMITS,
            ["1 of 3 completions are missing", "failed on 1 of 2", "1 of 2 compl"],
        ),
    ],
)
def test_invalid_beyond_the_limits(statuses: list[Status], expected: int, limits: Limits, says: list[str]) -> None:
    reasons = check_validity(counts_of(records(statuses), expected), limits)
    assert len(reasons) == len(says)
    assert all(part in reason for part, reason in zip(says, reasons, strict=True))


def test_a_completion_that_is_there_twice_doesnt_hide_a_missing_one() -> None:
    once = records(["right"] * 3)
    reasons = check_validity(counts_of([*once[:2], once[0]], 3))
    assert "1 of 3 completions are missing" in reasons[0]
    assert "1 completions are there twice" in reasons[1]


def test_an_invalid_summary_still_has_its_numbers_and_says_so(tmp_path: Path) -> None:
    statuses: list[Status] = ["truncated", "truncated", "truncated"]
    statuses += ["right", "right", "right", "right", "right", "no_answer", "wrong"]
    summary = summarize("t", "m", records(statuses), 10, 1.0)
    printed = to_text(summary_grid(summary))
    assert printed.startswith("t: m (invalid)\n")
    assert "INVALID: 3 of 10 completions were cut at the token limit, the limit is 10%" in printed
    assert "bounds: exact is 50.0% with all truncated wrong, 80.0% with all of them right" in printed
    assert "right 5, wrong 1, no_answer 1, wrong_format 0, truncated 3, error 0" in printed
    assert "50.0%..80.0%" in printed.splitlines()[2].split("\t")
    (tmp_path / SUMMARY).write_text(json.dumps(summary.to_json()), encoding="utf-8")
    assert read_summary(tmp_path) == summary
    assert json.loads((tmp_path / SUMMARY).read_text())["overall"]["bounds"] == [0.5, 0.8]
    assert why_invalid(tmp_path) == summary.invalid != ()


def test_no_summary_gives_no_reasons(tmp_path: Path) -> None:
    assert why_invalid(tmp_path) == ()


def test_several_samples_survive_the_file(tmp_path: Path) -> None:
    summary = summarize("t", "m", records(["right", "wrong", "right", "truncated"], samples=2), 4, 1.0)
    (tmp_path / SUMMARY).write_text(json.dumps(summary.to_json()), encoding="utf-8")
    assert read_summary(tmp_path) == summary
    printed = to_text(summary_grid(summary))
    assert "mean of 2: 50.0%" in printed
    assert "pass@1 50.0%" in printed
    assert "pass@2 100.0%" in printed
    assert "maj@2 75.0%" in printed


def test_an_older_summary_can_still_be_read(tmp_path: Path) -> None:
    """Written before bounds, no_answer, pass@k and validity."""
    whole = summarize("t", "m", records(["truncated", "right"]), 2, 1.0)
    row = asdict(whole)
    for key in ("cached", "invalid", "pass_at", "majority_at"):
        del row[key]
    del row["overall"]["bounds"], row["overall"]["statuses"]["no_answer"]
    (tmp_path / SUMMARY).write_text(json.dumps(row), encoding="utf-8")
    assert read_summary(tmp_path) == replace(whole, invalid=())


@pytest.mark.parametrize("row", [{}, {"overall": 1}, {"overall": {"exact": {}}}, "whole", "rates"])
def test_a_damaged_summary_is_refused_in_words(tmp_path: Path, row: Any) -> None:
    if isinstance(row, str):
        whole = summarize("t", "m", records(["truncated", "right"]), 2, 1.0).to_json()
        row = {**whole, "more": 1} if row == "whole" else {**whole, "pass_at": {"two": {}}}
    (tmp_path / SUMMARY).write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(UserError, match=r"summary\.json: not a summary .*run it again with the same directory"):
        read_summary(tmp_path)
