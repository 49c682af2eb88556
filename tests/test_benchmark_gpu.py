"""benchmarks/gpu.py: which arms there are, and what becomes of one that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import gpu_answers
from benchmarks.gpu import BRIEF, _chosen, _one_arm, _result
from benchmarks.gpu_common import Settings


def test_arms_are_chosen_by_name_and_group() -> None:
    assert _chosen("brief") == list(BRIEF)
    assert _chosen("answers,warm") == ["vllm", "vllm-tuned", "vllm-tuned-x4", "vllm-tuned-x8", "warm"]
    with pytest.raises(SystemExit, match="no such arm: fast; there are trl-full"):
        _chosen("warm,fast")


def test_an_arm_that_fails_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(name: str, settings: Settings) -> dict[str, object]:
        raise RuntimeError("CUDA out of memory\nand a long story")

    settings = Settings(tmp_path / "model", tmp_path, tiny=True)
    monkeypatch.setitem(gpu_answers.ARMS, "vllm", out_of_memory)
    with pytest.raises(RuntimeError):
        _one_arm("vllm", settings)
    assert _result(settings, "vllm") == {"failed": "RuntimeError: CUDA out of memory"}
    assert _result(settings, "vllm-tuned") == {"failed": "not run"}
