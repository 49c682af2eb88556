"""The training log after a kill: each step once, each validation loss once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from benchmarks.jsonl import read_jsonl
from toolkit.training.common import drop_undone

BEFORE = {"step": 0, "eval_loss": 2.0}
STEPS = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
AFTER = {"step": 2, "eval_loss": 0.4}


@pytest.mark.parametrize(
    ("rows", "done", "kept"),
    [
        ([BEFORE, *STEPS], 1, [BEFORE, STEPS[0]]),  # killed in step 3, the checkpoint is of step 1
        ([BEFORE, *STEPS, AFTER], 2, [BEFORE, *STEPS]),  # killed while it saved: the loss of the end comes again
        ([BEFORE, *STEPS, BEFORE], 2, [BEFORE, *STEPS]),  # begun again: that of the beginning has come again
        ([BEFORE], 0, [BEFORE]),
    ],
)
def test_a_log_is_what_an_unbroken_training_would_have(
    tmp_path: Path, rows: list[dict[str, Any]], done: int, kept: list[dict[str, Any]]
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "lo', encoding="utf-8")
    drop_undone(log, done)
    assert read_jsonl(log) == kept


def test_a_line_separator_within_a_text_is_no_end_of_a_row(tmp_path: Path) -> None:
    log = tmp_path / "rollouts.jsonl"
    lines = [json.dumps({"step": n, "completion": f"a\u2028b\u0085c {n}"}, ensure_ascii=False) for n in (1, 2, 3)]
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    drop_undone(log, 2)
    assert log.read_text(encoding="utf-8").split("\n") == [*lines[:2], ""]
