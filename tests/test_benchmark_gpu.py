"""benchmarks/gpu.py: which arms there are, and what becomes of an arm whose engine dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu import BRIEF, _chosen
from benchmarks.gpu_answers import _several
from benchmarks.gpu_common import Settings


def test_arms_are_chosen_by_name_and_group() -> None:
    assert _chosen("brief") == list(BRIEF)
    assert _chosen("answers,warm") == ["vllm", "vllm-tuned", "vllm-tuned-x4", "vllm-tuned-x8", "warm"]
    with pytest.raises(SystemExit, match="no such arm: fast; there are trl-full"):
        _chosen("warm,fast")


@pytest.mark.slow
def test_an_engine_that_dies_ends_its_arm(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The others would wait for it. Without a model the first one dies."""
    pytest.importorskip("vllm")
    (tmp_path / ".go-two").touch()
    with pytest.raises(RuntimeError, match="engine 0 of 2 ended with 1"):
        _several("two", Settings(tmp_path / "nothing", tmp_path, tiny=True), engines=2)
    assert "no tokenizer there" in capfd.readouterr().err
