"""What a person can put right is one line from a benchmark too, with the exit code of the toolkit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import coverage
from rewards.core import UserError

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = [path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]


def ended(name: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_an_engine_that_isnt_there_is_one_line(tmp_path: Path) -> None:
    row = {"text": "завтра в 5", "reference": "2026-01-01T00:00:00", "expected_start": "2026-01-02T17:00:00"}
    for lang in ("ru", "en"):
        line = json.dumps({**row, "future": True, "granularity": "hour", "suite": "s"})
        (tmp_path / f"datetime_public_{lang}.jsonl").write_text(line + "\n", encoding="utf-8")
    code, said = ended("public_rows", "--data", str(tmp_path), "--model", str(tmp_path), "--engine", "vlm")
    assert code == 2
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: ")
    assert "vlm" in said


def test_a_task_that_isnt_there_is_one_line() -> None:
    code, said = ended("data_build", "--task", "nowhere")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert said.startswith("error: ")


def test_coverage_without_a_parser_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "installed", list)
    monkeypatch.setattr(sys, "argv", ["coverage"])
    with pytest.raises(UserError, match="none is here: pip install"):
        coverage.main()


@pytest.mark.parametrize("path", sorted(PROGRAMS), ids=lambda path: path.stem)
def test_every_benchmark_ends_through_the_one_place(path: Path) -> None:
    assert path.read_text(encoding="utf-8").endswith('if __name__ == "__main__":\n    sys.exit(exit_code(main))\n')
