"""The process of one training stage: `python -m toolkit.training.worker RUN_DIR STAGE`.

The libraries' chatter goes to logs/STAGE.log; the terminal gets the progress line. logs/STAGE.json holds how it
ended: the stage's figures, {"failed": why, "status": the exit status that goes with it}, or {"again": why} where it
ran out of memory and is to be started once more, with what plan.json then holds.

Of several processes (launch.processes, under accelerate) the first does all that; the others have a log of their own,
logs/STAGE.RANK.log, and write logs/STAGE.json only to say that they failed, and why.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from eval.files import write_json
from rewards.core import ExitCode, UserError, with_type
from toolkit.config import load_recipe
from toolkit.planning.fits import RanOutOfMemory
from toolkit.quiet import output_to
from toolkit.rundir import Run
from toolkit.training.backends import PACKAGES
from toolkit.training.launch import processes_of
from toolkit.training.processes import lost_peer, rank, world

STAGES = {
    "probe": "toolkit.training.probe:run_probe",
    "sft": "toolkit.training.sft:run_sft",
    "grpo": "toolkit.training.grpo:run_grpo",
    "merge-sft": "toolkit.training.merge:run_merge_sft",
    "merge": "toolkit.training.merge:run_merge",
}
AGAIN = 75  # exit status of a stage to be started once more
PATIENCE = 20.0  # seconds in which accelerate ends the processes that are left when one has ended


def main(directory: str, stage: str) -> int:
    """Run the stage; see the module. Gives the exit status."""
    _end_with_parent()
    run_dir = Path(directory)
    run = Run(run_dir, load_recipe(run_dir / "recipe.yaml"))
    _leave_out_vllm(run, stage)
    log = f"{stage}.{rank()}.log" if rank() else f"{stage}.log"
    with output_to(run_dir / "logs" / log) as terminal, _terminal(terminal) as shown:
        return _run(run, stage, shown)


def _leave_out_vllm(run: Run, stage: str) -> None:
    """Keep TRL and unsloth from importing vLLM, which takes seconds, where nothing here generates with it.

    Both import it wherever it is installed.
    """
    if stage != "grpo" or run.recipe.grpo is None or not run.recipe.grpo.vllm:
        sys.modules["vllm"] = None  # type: ignore[assignment]  # "not found", for every import from here on


@contextmanager
def _terminal(own: TextIO) -> Iterator[TextIO]:
    """Where progress goes: nowhere but in the first process; under accelerate, to the terminal of who started it."""
    wanted = os.environ.get("TOOLKIT_TERMINAL")
    if rank() == 0 and (world() == 1 or wanted is None):
        yield own
        return
    nowhere = rank() > 0 or wanted is None or not os.access(wanted, os.W_OK) or Path(wanted).is_socket()
    with Path(os.devnull if nowhere or wanted is None else wanted).open("a", encoding="utf-8") as file:
        yield file


def _run(run: Run, stage: str, terminal: TextIO) -> int:
    module, _, function = STAGES[stage].partition(":")
    try:
        _check_packages(run.recipe.model.backend)
        _check_processes(run, stage)
        facts = getattr(importlib.import_module(module), function)(run, terminal)
    except UserError as error:
        return _failed(run, stage, str(error), error.exit_code)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except RanOutOfMemory as error:
        write_json(run.dir / "logs" / f"{stage}.json", {"again": str(error)})
        return AGAIN
    except Exception as error:
        traceback.print_exc()
        if lost_peer(error):  # accelerate ends this process in a moment; the one that ended knows why it did
            time.sleep(PATIENCE)
        return _failed(run, stage, with_type(error), ExitCode.FAILED)
    if rank() == 0:
        write_json(run.dir / "logs" / f"{stage}.json", facts)
    return 0


def _failed(run: Run, stage: str, reason: str, status: int) -> int:
    print(f"error: {reason}", file=sys.stderr, flush=True)  # for the log
    result = run.dir / "logs" / f"{stage}.json"
    if world() == 1 or not result.exists():  # of several, the first to fail has the reason
        write_json(result, {"failed": reason, "status": status})
    return status


def _end_with_parent() -> None:
    """End at once when the parent has ended, whatever ended it: a rerun must not meet a trainer that still writes.

    Under accelerate the parent's parent is watched too: accelerate would train on without it.
    """
    parent = os.getppid()
    starter = os.environ.get("TOOLKIT_PARENT") if world() > 1 else None

    def alive() -> bool:
        return os.getppid() == parent and (starter is None or _parent_of(parent) == int(starter))

    def watch() -> None:
        while alive():
            time.sleep(0.5)
        os._exit(ExitCode.INTERRUPTED)

    threading.Thread(target=watch, daemon=True).start()


def _parent_of(pid: int) -> int | None:
    import psutil

    try:
        return int(psutil.Process(pid).ppid())
    except psutil.Error:
        return None


def _check_processes(run: Run, stage: str) -> None:
    """Raises UserError for a process that was started otherwise than the recipe says, or that has no GPU."""
    wanted = processes_of(run.recipe, stage)
    if world() != wanted:
        raise UserError(
            f"{world()} processes were started, the recipe's launch.processes makes it {wanted}; `toolkit run` starts "
            "as many, and says with which command"
        )
    if wanted == 1:
        return
    import torch

    here, gpus = wanted // run.recipe.launch.hosts, torch.cuda.device_count()
    if gpus == 0 and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        raise UserError("launch.config: accelerate shards models on GPUs only, and here is none; leave it out for DDP")
    if 0 < gpus < here:
        raise UserError(
            f"launch.processes wants {here} GPUs on a host, this one has {gpus}; lower it, or set launch.hosts"
        )


def _check_packages(backend: str) -> None:
    from importlib.util import find_spec

    missing = [name for name in PACKAGES[backend] if find_spec(name) is None]
    if missing:
        raise UserError(
            f"training with backend {backend!r} needs {', '.join(missing)}: pip install 'reasoning-toolkit[train]', or "
            "`make install` for the pinned set"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
