"""Arms that stay loaded: asked in turn, found out when they end early, ended when they hang."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks import arms

ROOT = Path(__file__).resolve().parents[1]
ARM = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
from benchmarks.arms import serve

@contextmanager
def arm():
    def answered(number):
        if number == 7:
            raise ValueError("no seventh")
        return {"answers": 10 * number}
    yield answered
    time.sleep(float(sys.argv[2]))

serve("one", Path(sys.argv[1]), arm())
"""


def command(tmp_path: Path, hangs: float = 0.0) -> tuple[list[str], dict[str, str]]:
    script = tmp_path / "arm.py"
    script.write_text(ARM, encoding="utf-8")
    return [sys.executable, str(script), str(tmp_path), str(hangs)], {**os.environ, "PYTHONPATH": str(ROOT)}


def test_rounds_are_answered_by_one_process(tmp_path: Path) -> None:
    line, environment = command(tmp_path)
    (tmp_path / "one-3.json").write_text("{}")  # of an earlier call
    with arms.started("one", line, tmp_path, environment) as answered:
        found = [answered(number) for number in (3, 4)]
    assert [each["answers"] for each in found] == [30, 40]
    assert found[0]["loading"] == found[1]["loading"] >= 0


def test_an_arm_that_ends_is_named_with_its_log(tmp_path: Path) -> None:
    line, environment = command(tmp_path)
    early = pytest.raises(SystemExit, match=r"arm one ended with 1; its log: .*one\.log")
    with early, arms.started("one", line, tmp_path, environment) as answered:
        answered(7)
    assert "no seventh" in (tmp_path / "one.log").read_text(encoding="utf-8")


def test_an_arm_that_hangs_at_its_end_costs_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms, "ENDS_IN", 0.2)
    line, environment = command(tmp_path, hangs=60.0)
    began = time.monotonic()
    with arms.started("one", line, tmp_path, environment) as answered:
        assert answered(1)["answers"] == 10
    assert time.monotonic() - began < 30
