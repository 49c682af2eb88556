"""Trainings of seconds: the recipe over a tiny model that several test files vary, and its stages in this process."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from benchmarks.tiny import write_tiny_llama
from toolkit.config import Recipe, check_recipe
from toolkit.rundir import Run, open_run
from toolkit.stages import ensure


def write_tiny(tokenizer_dir: Path, target: Path, task: str) -> Path:
    """A random Llama of two narrow layers with another model's tokenizer, and beside it the text of a task, task.py."""
    directory = write_tiny_llama(tokenizer_dir, target)
    (directory / "task.py").write_text(task, encoding="utf-8")
    return directory


def recipe(output: Path, tiny: Path, /, **changes: Any) -> Recipe:
    """The model and task of `tiny`; changes: whole sections or keys in place of these."""
    raw: dict[str, Any] = {
        "task": str(tiny / "task.py"),
        "output": str(output),
        "model": {"reference": str(tiny), "backend": "transformers"},
        "lora": {"rank": 4, "alpha": 8},
        "data": {"sft": 16, "grpo": 8, "validation": 2, "test": 2},
        "sft": {"batch_size": 4, "learning_rate": 1e-2, "save_steps": 1},
        "grpo": {
            "steps": 3,
            "prompts": 2,
            "generations": 2,
            "batch_size": 4,
            "max_completion_length": 8,
            "learning_rate": 1e-4,
            "save_steps": 1,
        },
    }
    return check_recipe({**raw, **changes}, "here")


def begun(output: Path, tiny: Path, /, **changes: Any) -> Run:
    """A run of that recipe whose data are built."""
    run = open_run(recipe(output, tiny, **changes))
    ensure(run, "data", lambda line: None)
    return run


def sft(run: Run) -> tuple[dict[str, Any], str]:
    """The figures of the stage, and what the terminal got."""
    from toolkit.training.sft import run_sft

    terminal = io.StringIO()
    return run_sft(run, terminal), terminal.getvalue()


def grpo(run: Run) -> tuple[dict[str, Any], str]:
    """The same of GRPO."""
    from toolkit.training.grpo import run_grpo

    terminal = io.StringIO()
    return run_grpo(run, terminal), terminal.getvalue()
