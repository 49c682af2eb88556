"""An order out of a customer's message, as JSON: a task in YAML over a CSV, to copy. `task.yaml` is all there is."""

from __future__ import annotations

from pathlib import Path

from tasks.declared import declared_task

TASK = declared_task(Path(__file__).with_name("task.yaml"))
