"""What docs/scoring.md shows is what its commands print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewards.response import render
from tasks.russian_arithmetic import TASK as ARITHMETIC
from toolkit.cli import main

DOCS = (Path(__file__).resolve().parents[1] / "docs" / "scoring.md").read_text(encoding="utf-8")
DAYS = """\
question,day
Какой день через неделю после 3 января 2025?,2025-01-10
Какой день за два дня до 9 мая 2025?,2025-05-07
Какой день следует за 28 февраля 2025?,2025-03-01
Какой день через месяц после 12 июня 2025?,2025-07-12
Какой день за неделю до 1 сентября 2025?,2025-08-25
Какой день через десять дней после 20 ноября 2025?,2025-11-30
"""
TASK = """\
name: days
data: days.csv
user: "{question} Ответ: <reasoning>…</reasoning><answer>ГГГГ-ММ-ДД</answer>"
answer: day
shares: {test: 0.2, validation: 0.2}
metric: rewards.text:exact_text
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    printed = capsys.readouterr()
    return int(end.value.code or 0), printed.out, printed.err


def indented(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


def test_the_invalid_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "I think that it is more, but let me count again: 5 and 7 make 12"
    assert f'toolkit eval --model "{said}" \\' in indented(DOCS)
    out = ("--engine", "scripted", "--out", str(tmp_path / "cut"))
    code, printed, _ = run(
        capsys, "eval", "--model", said, "--task", "russian_arithmetic", "--n", "20", "--max-tokens", "8", *out
    )
    assert code == 13
    shown = [line for line in printed.splitlines() if line.startswith(("INVALID", "completions", "bounds", "russian"))]
    assert len(shown) == 4
    assert set(shown) <= set(indented(DOCS))
    assert next(line.split() for line in indented(DOCS) if line.startswith("all ")) == printed.splitlines()[2].split()


def test_the_sampled_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "samples.jsonl"
    with script.open("w", encoding="utf-8") as file:
        for i, each in enumerate(ARITHMETIC.examples("test", 20, 0)):
            for sample in range(4):  # no two wrong ones agree
                said = render("", each.answers[0] if sample < i % 5 else f"-{sample}")
                file.write(json.dumps({"id": each.id, "completion": said}) + "\n")
    how = ("--engine", "scripted", "--samples", "4", "--temperature", "1", "--out", str(tmp_path / "sampled"))
    code, printed, _ = run(capsys, "eval", "--model", str(script), "--task", "russian_arithmetic", "--n", "20", *how)
    assert code == 0
    shown = [line for line in printed.splitlines() if line.startswith(("mean of", "pass@", "maj@"))]
    assert len(shown) == 3
    assert set(shown) <= set(indented(DOCS))


def test_the_linted_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = indented(DOCS)
    start = lines.index("rewards:")
    rewards = "\n".join(["rewards:", *(f"  {line}" for line in lines[start + 1 : start + 4])])
    (tmp_path / "days.csv").write_text(DAYS, encoding="utf-8")
    (tmp_path / "days.yaml").write_text(f"{TASK}{rewards}\n", encoding="utf-8")
    code, printed, error = run(capsys, "rewards", "lint", str(tmp_path / "days.yaml"))
    assert code == 1
    shown = [line for line in lines if line.startswith("error: the rewards can be hacked")]
    assert len(shown) == 1
    assert shown[0] in error.splitlines()
    rows = {" ".join(row.split()) for row in printed.splitlines()}
    assert {
        " ".join(line.split()) for line in lines if line.startswith(("the gold 5", "another example's answer "))
    } <= rows
