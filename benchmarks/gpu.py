"""Every comparison of docs/benchmarks.md on one GPU, without a network, in under ten minutes.

    python benchmarks/gpu.py --model MODEL_DIR --out OUT_DIR [--arms sft] [--tiny]

Each arm is a process of its own, since unsloth patches the other libraries, and has the GPU alone; while it is timed,
nothing runs beside it. Arms end by themselves (after a number of steps, or of seconds) and write OUT_DIR/ARM.json. The
tables come last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import gpu_answers, gpu_grpo, gpu_sft
from benchmarks.gpu_common import Settings, host_facts, prepare, wait_for
from rewards.core import with_type
from toolkit.ending import exit_code

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
BRIEF = (  # ours beside what the others give as they come, in ten minutes; the groups have the whole tables
    *("ours-full", "trl-full", "unsloth-lora", "warm", "grpo-ours-1024", "grpo-trl-vllm-128"),
    *("vllm", "vllm-tuned-x4"),
)
GROUPS = {"sft": gpu_sft, "grpo": gpu_grpo, "answers": gpu_answers}


def main() -> None:
    """Prepare the data, run the arms one after the other, print the tables."""
    arguments = _arguments()
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    settings = Settings(arguments.model.resolve(), arguments.out.resolve(), arguments.tiny)
    if arguments.arm is not None:
        _one_arm(arguments.arm, settings)
        return
    settings.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    prepare(settings)
    print(f"data: {time.perf_counter() - started:.0f} s", flush=True)
    names = _chosen(arguments.arms)
    _run_all(names, settings, started + arguments.limit)
    results = {name: _result(settings, name) for name in names}
    facts = host_facts()  # touches the GPU, so not before the arms
    (settings.out / "gpu.json").write_text(json.dumps({"host": facts, "arms": results}, indent=1), encoding="utf-8")
    print(f"\n{facts['card']}; {', '.join(f'{k} {v}' for k, v in facts['versions'].items())}")
    print(f"all arms: {time.perf_counter() - started:.0f} s")
    for module in GROUPS.values():
        module.print_table({name: results[name] for name in names if name in module.ARMS})


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a directory with safetensors weights")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", default="brief", help="brief, or groups (sft, grpo, answers) and arms")
    parser.add_argument("--limit", type=float, default=540, help="seconds after which no new arm begins")
    parser.add_argument("--tiny", action="store_true", help="a few steps each, to see that every arm runs")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    return parser.parse_args()


def _chosen(text: str) -> list[str]:
    sets = {"brief": BRIEF, **{group: tuple(module.ARMS) for group, module in GROUPS.items()}}
    names: list[str] = []
    for word in text.split(","):
        names += sets.get(word, [word])
    known = [name for module in GROUPS.values() for name in module.ARMS]
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no such arm: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _one_arm(name: str, settings: Settings) -> None:
    module = next(module for module in GROUPS.values() if name in module.ARMS)
    try:
        result = module.ARMS[name](name, settings)
    except Exception as error:  # an arm that fails is a result: out of memory, say
        (settings.out / f"{name}.json").write_text(json.dumps({"failed": with_type(error)[:300]}))
        raise
    (settings.out / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")


def _run_all(names: list[str], settings: Settings, end: float) -> None:
    """One arm after the other. The next one imports while this one, timed already, scores itself and ends."""
    waiting: tuple[str, Any] | None = None
    for place, name in enumerate(names):
        if time.perf_counter() > end:
            print(f"{name}: not begun, the time is up", flush=True)
            continue
        process = waiting[1] if waiting is not None else _start(name, settings)
        began = time.perf_counter()
        (settings.out / f".go-{name}").touch()
        deadline = end + 60
        wait_for(process, settings.out / f".timed-{name}", deadline)
        following = names[place + 1] if place + 1 < len(names) and time.perf_counter() < end else None
        waiting = None if following is None else (following, _start(following, settings))
        wait_for(process, None, deadline)
        if process.poll() is None:
            process.kill()
            process.wait()
        shown = {key: value for key, value in _result(settings, name).items() if key not in ("profile_ms", "hashes")}
        print(f"{name}: {time.perf_counter() - began:.0f} s, {json.dumps(shown)[:400]}", flush=True)
    if waiting is not None and waiting[1].poll() is None:
        waiting[1].kill()


def _start(name: str, settings: Settings) -> Any:
    for kind in ("go", "timed"):
        (settings.out / f".{kind}-{name}").unlink(missing_ok=True)
    (settings.out / f"{name}.json").unlink(missing_ok=True)
    log = (settings.out / f"{name}.log").open("w")
    command = [sys.executable, "-m", "benchmarks.gpu", "--model", str(settings.model), "--out", str(settings.out)]
    command += ["--arm", name, *["--tiny"] * settings.tiny]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def _result(settings: Settings, name: str) -> dict[str, Any]:
    path = settings.out / f"{name}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    log = settings.out / f"{name}.log"
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.is_file() else []
    return {"failed": "".join(last)[:300] or "not run"}


if __name__ == "__main__":
    sys.exit(exit_code(main))
