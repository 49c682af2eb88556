"""How the processes of a training stage start: one by itself, several through accelerate. Imports neither."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from eval.files import write_atomically
from eval.redaction import scrub
from rewards.core import UserError
from toolkit.config import Recipe
from toolkit.rundir import Run

WORKER = "toolkit.training.worker"
SEVERAL = ("sft", "grpo")  # the stages that launch.processes is about; a merge has nothing to divide
SIGKILL = (-9, 137)  # the status of a process that it ended: to Python, and to a shell
# Which file of accelerate's a recipe gets that names none. configs/accelerate/ddp.yaml is a copy to start from.
DDP = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
mixed_precision: 'no'
"""


def launch_misfits(recipe: Recipe) -> Iterator[str]:
    """What in the recipe doesn't fit its section launch."""
    launch, sft, grpo = recipe.launch, recipe.sft, recipe.grpo
    if launch.processes % launch.hosts:
        yield f"launch.processes {launch.processes} must be a multiple of launch.hosts ({launch.hosts})"
    if (launch.hosts > 1) != (launch.address is not None):
        yield "launch.address: give HOST:PORT of the first host with launch.hosts above 1, and only then"
    if launch.processes == 1:
        return
    if recipe.model.backend == "unsloth":
        yield f"launch.processes {launch.processes}: unsloth trains in one process; set model.backend to transformers"
    if sft is not None and sft.batch_size % launch.processes:
        yield f"sft.batch_size {sft.batch_size} must be a multiple of launch.processes ({launch.processes})"
    if grpo is not None and grpo.prompts % launch.processes:
        yield f"grpo.prompts {grpo.prompts} must be a multiple of launch.processes ({launch.processes})"
    if grpo is not None and grpo.oversample > 1:
        yield f"grpo.oversample {grpo.oversample} works in one process only; set it to 1"


def processes_of(recipe: Recipe, stage: str) -> int:
    """How many processes the stage takes."""
    return recipe.launch.processes if stage in SEVERAL else 1


def command_of(run: Run, stage: str, host: int = 0) -> list[str]:
    """What starts the stage on a host, counted from 0. Raises UserError when accelerate's file isn't there."""
    worker = ["-m", WORKER, str(run.dir), stage]
    # -P: nothing in the working directory may pass for a package of ours
    if processes_of(run.recipe, stage) == 1:
        return [sys.executable, "-P", *worker]
    launch = run.recipe.launch
    config = launch.config
    if config is None:  # a file of the run's own: accelerate would take the user's default one, whatever it says
        config = run.dir / "logs" / "accelerate.yaml"
        write_atomically(config, DDP)
    elif not config.is_file():
        raise UserError(f"launch.config {str(config)!r}: no such file; leave it out for DDP")
    # port 0: a free one; accelerate's fixed one would allow one training on a machine
    address, _, port = (launch.address or ":0").rpartition(":")
    return [
        *(sys.executable, "-P", "-m", "accelerate.commands.launch"),
        *("--config_file", str(config), "--num_processes", str(launch.processes)),
        *("--num_machines", str(launch.hosts), "--machine_rank", str(host)),
        *(("--main_process_ip", address) if address else ()),
        *("--main_process_port", port),
        *worker,
    ]


def launch_lines(run: Run, stage: str) -> list[str]:
    """What to tell the user of several processes: the command as it runs, and that of each other host."""
    lines = [f"{stage}: $ {shlex.join(command_of(run, stage))}"]
    for host in range(1, run.recipe.launch.hosts):
        lines.append(f"{stage}: on host {host}, in the same directory: $ {shlex.join(command_of(run, stage, host))}")
    return lines


def worker_environment() -> dict[str, str]:
    """For processes under accelerate: whom to end with, where the user's terminal is, no packages from here."""
    pid = os.getpid()
    return {"TOOLKIT_PARENT": str(pid), "TOOLKIT_TERMINAL": f"/proc/{pid}/fd/2", "PYTHONSAFEPATH": "1"}


def first_to_end(log: Path) -> str:
    """Which process ended first and how, by what accelerate left in its log."""
    if (cause := _cause(log)) is None:
        return "one of its processes ended, and the others were stopped"
    return f"its process {cause[0]} ended with status {cause[1]}, and the others were stopped"


def _cause(log: Path) -> tuple[int, int] | None:
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    found = re.search(r"Root Cause.*?\n\s*rank\s*:\s*(\d+).*?\n\s*exitcode\s*:\s*(-?\d+)", text, re.DOTALL)
    return None if found is None else (int(found[1]), int(found[2]))


def was_killed(status: int, log: Path | None) -> bool:
    """Whether SIGKILL ended a stage's process, or the first of several; log: accelerate's, where it started them."""
    cause = None if log is None else _cause(log)
    return status in SIGKILL or (cause is not None and cause[1] in SIGKILL)


def launched(run: Run, stage: str, environment: dict[str, str]) -> int:
    """Start accelerate; give its status. What it says itself, a page a process that ends, is kept from the terminal."""
    log = launch_log(run, stage)
    try:
        with log.open("w", encoding="utf-8") as file:
            return wait_for(subprocess.Popen(command_of(run, stage), env=environment, stdout=file, stderr=file))
    finally:
        scrub(log)


def launch_log(run: Run, stage: str) -> Path:
    """Where accelerate's own words of a stage go."""
    return run.dir / "logs" / f"{stage}.launch.log"


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """Its status, once it has ended; whatever interrupts the wait ends it."""
    try:
        return process.wait()
    except BaseException:  # Ctrl-C reaches the child as well; it saves nothing half, so end it for certain
        process.kill()
        process.wait()
        raise
