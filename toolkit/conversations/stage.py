"""The data stage of a recipe without a task, and its rows for the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.files import write_json
from eval.progress import say
from rewards.core import UserError
from toolkit.config import ConversationsConfig
from toolkit.conversations.preparing import QUARANTINE, Prepared, prepare
from toolkit.conversations.report import summary_lines
from toolkit.data_stage import told
from toolkit.models import resolve_model
from toolkit.rundir import Run


def prepare_run(run: Run) -> Prepared:
    """The rows of a run's file, from the cache where it has them. The run directory gets the quarantine file."""
    recipe = run.recipe
    assert isinstance(recipe.data, ConversationsConfig)
    folder = run.dir / "data"
    folder.mkdir(exist_ok=True)
    resolved, model = resolve_model(recipe.model.reference), recipe.model
    quarantine = folder / QUARANTINE
    return prepare(recipe.data, resolved.path, model.chat_template, model.max_length, quarantine, resolved.adapter)


def conversations_stage(run: Run) -> dict[str, Any]:
    """Prepare, leave data/report.json, say what became of every row, and give the figures worth keeping."""
    prepared = prepare_run(run)
    report = prepared.report
    write_json(run.dir / "data" / "report.json", report)
    say("\n".join(summary_lines(report)))
    kept = ("rows", "conversations", "bad", "sequences", "tokens", "validation")
    return {**{name: report[name] for name in kept}, "rows_at": str(prepared.dir), "sha256": report["sha256"]}


def datasets_of(run: Run) -> tuple[Any, Any, int]:
    """(training rows, validation rows or None, tokens), memory-mapped."""
    from datasets import Dataset

    prepared = prepare_run(run)
    expected = run.facts("data")["sha256"]
    if prepared.report["sha256"] != expected:
        raise UserError(told([prepared.report["source"]]))
    train, validation = (_dataset(Dataset, prepared.dir / f"{name}.arrow") for name in ("train", "validation"))
    return train, validation if len(validation) else None, int(prepared.report["tokens"])


def _dataset(dataset: Any, path: Path) -> Any:
    return dataset.from_file(str(path))
