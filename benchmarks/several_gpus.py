"""The same recipe with 1, 2, … processes, each on a GPU of its own (without GPUs: on the CPU's cores).

    python -m benchmarks.several_gpus --model MODEL_DIR --out OUT_DIR [--processes 1,2] [--tuning full] [--tiny]

Every side trains the same rows in the same order in steps of as many sequences, so the losses have to agree. A step's
time is that between log entries once WARM steps are over, checkpoints left out: what starting costs is its own figure.
Needs torch, transformers, trl, peft, accelerate, datasets; no vLLM, no unsloth, no network.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_common import MAX_LENGTH, TASK
from benchmarks.jsonl import read_jsonl
from toolkit.ending import exit_code

WARM = 0.25  # share of the steps before the clock starts: allocation, compilation


def main() -> None:
    """One side after the other, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a directory with safetensors weights")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", default="1,2", help="separated by commas; the first is what others compare with")
    parser.add_argument("--tuning", choices=("lora", "full"), default="full")
    parser.add_argument("--batch", type=int, default=512, help="sequences in a step, over all processes")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--config", type=Path, help="a file of accelerate, as configs/accelerate/fsdp.yaml")
    parser.add_argument("--tiny", action="store_true", help="a few short steps, to see that it runs")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if arguments.tiny:
        arguments.batch, arguments.steps = 4, 8
    results = [_side(int(count), arguments) for count in arguments.processes.split(",")]
    first = results[0]
    print(f"\n{TASK}, {arguments.tuning}, {arguments.batch} sequences a step, {arguments.steps} steps")
    print("processes  steps/s  tokens/s  times  whole stage s  last loss  largest difference of a loss")
    for row in results:
        times = row["steps_per_second"] / first["steps_per_second"]
        apart = max(abs(one - other) for one, other in zip(row["losses"], first["losses"], strict=True))
        print(
            f"{row['processes']:>9}{row['steps_per_second']:>9.3f}{row['tokens_per_second']:>10.0f}{times:>7.2f}"
            f"{row['seconds']:>15.1f}{row['losses'][-1]:>11.4f}{apart:>12.1e}"
        )
    (arguments.out / "several_gpus.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


def _side(processes: int, arguments: Any) -> dict[str, Any]:
    from toolkit.rundir import open_run
    from toolkit.stages import ensure

    run = open_run(_recipe(processes, arguments))
    ensure(run, "data", print)
    started = time.perf_counter()
    ensure(run, "sft", print)
    seconds = time.perf_counter() - started
    entries = [row for row in read_jsonl(run.dir / "sft" / "log.jsonl") if "loss" in row]
    after = [row for row in entries if row["step"] >= arguments.steps * WARM]
    rate = (after[-1]["step"] - after[0]["step"]) / (after[-1]["time"] - after[0]["time"])
    tokens = run.facts("sft")["tokens"] / arguments.steps
    return {
        "processes": processes,
        "steps_per_second": rate,
        "tokens_per_second": rate * tokens,
        "seconds": seconds,
        "losses": [row["loss"] for row in entries],
    }


def _recipe(processes: int, arguments: Any) -> Any:
    from toolkit.config import check_recipe

    launch: dict[str, Any] = {"processes": processes}
    if arguments.config is not None and processes > 1:
        launch["config"] = str(arguments.config)
    return check_recipe(
        {
            "task": TASK,
            "output": str(arguments.out / f"{processes}"),
            "model": {
                "reference": str(arguments.model.resolve()),
                "backend": "transformers",
                "tuning": arguments.tuning,
                "max_length": MAX_LENGTH,
            },
            "data": {"sft": arguments.batch * arguments.steps, "grpo": 1, "validation": 8, "test": 1},
            "sft": {
                "batch_size": arguments.batch,
                "learning_rate": 3e-4 if arguments.tuning == "full" else 1e-3,
                "save_steps": 100_000,
            },
            "launch": launch,
        },
        "here",
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
