"""The process of one training stage: `python -m toolkit.training.worker RUN_DIR STAGE`.

The libraries' chatter goes to logs/STAGE.log; the terminal gets the progress line. logs/STAGE.json holds how it
ended: the stage's figures, or {"failed": why}.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TextIO

from eval.files import write_json
from rewards.core import UserError
from toolkit.config import load_recipe
from toolkit.quiet import output_to
from toolkit.rundir import Run

STAGES = {
    "sft": "toolkit.training.sft:run_sft",
    "grpo": "toolkit.training.grpo:run_grpo",
    "merge-sft": "toolkit.training.merge:run_merge_sft",
    "merge": "toolkit.training.merge:run_merge",
}
NEEDED = {"unsloth": ("unsloth", "trl", "peft", "datasets"), "transformers": ("trl", "peft", "datasets")}


def main(directory: str, stage: str) -> int:
    """Run the stage; see the module. Gives the exit status."""
    _end_with_parent()
    run_dir = Path(directory)
    run = Run(run_dir, load_recipe(run_dir / "recipe.yaml"))
    with output_to(run_dir / "logs" / f"{stage}.log") as terminal:
        return _run(run, stage, terminal)


def _run(run: Run, stage: str, terminal: TextIO) -> int:
    module, _, function = STAGES[stage].partition(":")
    try:
        _check_packages(run.recipe.model.backend)
        facts = getattr(importlib.import_module(module), function)(run, terminal)
    except UserError as error:
        return _failed(run, stage, str(error), error.exit_code)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        traceback.print_exc()
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        return _failed(run, stage, f"{type(error).__name__}: {reason}", 14)
    write_json(run.dir / "logs" / f"{stage}.json", facts)
    return 0


def _failed(run: Run, stage: str, reason: str, status: int) -> int:
    print(f"error: {reason}", file=sys.stderr, flush=True)  # for the log
    write_json(run.dir / "logs" / f"{stage}.json", {"failed": reason})
    return status


def _end_with_parent() -> None:
    """End at once when the parent has ended, whatever ended it: a rerun must not meet a trainer that still writes."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


def _check_packages(backend: str) -> None:
    from importlib.util import find_spec

    missing = [name for name in NEEDED[backend] if find_spec(name) is None]
    if missing:
        raise UserError(
            f"training with backend {backend!r} needs {', '.join(missing)}: pip install 'reasoning-toolkit[train]', or "
            "`make install` for the pinned set"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
