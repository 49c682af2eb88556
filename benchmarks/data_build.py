"""How fast one core builds data: python benchmarks/data_build.py [--n 50000] [--task NAME_OR_PATH ...]

Writes each task's training split to a temporary file, through the writer that `toolkit data build` uses.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from tasks.base import Task
from tasks.registry import BUILTIN, load_task
from toolkit.data import write_examples
from toolkit.ending import exit_code


def processor_seconds(work: Callable[[], object]) -> float:
    """Of this process alone, so that a busy machine doesn't count; the build uses one thread."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(task: Task, n: int, path: Path) -> str:
    """One line of the table: examples per second generated only, and generated and written."""
    generating = processor_seconds(lambda: deque(task.examples("train", n, 0), maxlen=0))
    writing = processor_seconds(lambda: write_examples(path, task.examples("train", n, 0)))
    size = path.stat().st_size / n
    return f"{task.name:<28}{n / generating:>12,.0f}{n / writing:>14,.0f}{size:>12,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Examples per second that one core generates and writes.")
    parser.add_argument("--n", type=int, default=50_000, help="examples per task (50,000)")
    parser.add_argument("--task", nargs="+", default=list(BUILTIN), help="names or paths (all built-in tasks)")
    args = parser.parse_args()
    print(f"{'task':<28}{'generate/s':>12}{'and write/s':>14}{'bytes each':>12}")
    with tempfile.TemporaryDirectory() as scratch:
        for ref in args.task:
            print(measure(load_task(ref), args.n, Path(scratch) / "train.jsonl"))


if __name__ == "__main__":
    sys.exit(exit_code(main))
