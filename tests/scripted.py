"""Evaluations without a model, for tests: what is said to each example stands in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.engines.base import ModelSpec, Sampling
from eval.runner import evaluate
from rewards.core import Example
from tasks.base import Task

NINE = Sampling(max_tokens=9)


def evaluate_script(
    directory: Path,
    task: Task,
    examples: Sequence[Example],
    said: Sequence[str | None],
    sampling: Sampling = NINE,
    **more: Any,
) -> Path:
    """Evaluate into the directory a model that says said[i] to example i, in each sample; None is an engine's error.

    The model is called like the directory, its completions stay beside it. more: of `eval.runner.evaluate`.
    """
    script = directory.parent / f"{directory.name}.jsonl"
    rows = [
        {"id": each.id, "completion": text}
        for each, text in zip(examples, said, strict=True)
        for _ in range(sampling.n)
        if text is not None
    ]
    script.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    how = {"split": "test", "seed": 0, "engine": "scripted", "progress": False, **more}
    evaluate(task, examples, model=ModelSpec(script, None, directory.name), sampling=sampling, out_dir=directory, **how)
    return directory
