"""The process of one training stage: `python -m toolkit.training.worker RUN_DIR STAGE`.

The libraries' chatter goes to STAGE/stage.log; the terminal gets the progress line and, when something fails, one line.
"""

from __future__ import annotations

import importlib
import sys
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
    "merge": "toolkit.training.merge:run_merge",
}
NEEDED = {"unsloth": ("unsloth", "trl", "peft", "datasets"), "transformers": ("trl", "peft", "datasets")}


def main(directory: str, stage: str) -> int:
    """Run the stage; its figures go to STAGE/result.json. Gives the exit status."""
    run_dir = Path(directory)
    run = Run(run_dir, load_recipe(run_dir / "recipe.yaml"))
    stage_dir = run_dir / stage
    stage_dir.mkdir(exist_ok=True)
    with output_to(stage_dir / "stage.log") as terminal:
        return _run(run, stage, stage_dir, terminal)


def _run(run: Run, stage: str, stage_dir: Path, terminal: TextIO) -> int:
    module, _, function = STAGES[stage].partition(":")
    try:
        _check_packages(run.recipe.model.backend)
        facts = getattr(importlib.import_module(module), function)(run, terminal)
    except UserError as error:
        print(f"error: {error}", file=terminal, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        traceback.print_exc()
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        print(f"error: {stage} failed: {type(error).__name__}: {reason}", file=terminal, flush=True)
        return 14
    write_json(stage_dir / "result.json", facts)
    return 0


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
