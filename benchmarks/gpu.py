"""Every comparison of docs/benchmarks.md on one GPU, without a network, in under ten minutes.

    python benchmarks/gpu.py --model MODEL_DIR --out OUT_DIR [--arms sft] [--tiny]

Each arm is a process of its own, since unsloth patches the other libraries, and has the host and the GPU alone. Arms
end by themselves (after a number of steps, or of seconds) and write OUT_DIR/ARM.json. The tables come last.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import gpu_answers, gpu_grpo, gpu_sft
from benchmarks.gpu_common import Settings, host_facts, prepare

OWN_PROCESS = {*gpu_grpo.ARMS, *gpu_answers.ARMS} | {name for name in gpu_sft.ARMS if "unsloth" in name}
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # to ask whether there is a GPU must not touch it: a fork couldn't use it
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
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
    parser.add_argument("--arms", default="sft,grpo,answers", help="groups or arms, separated by commas")
    parser.add_argument("--limit", type=float, default=540, help="seconds after which no new arm begins")
    parser.add_argument("--tiny", action="store_true", help="a few steps each, to see that every arm runs")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    return parser.parse_args()


def _chosen(text: str) -> list[str]:
    names: list[str] = []
    for word in text.split(","):
        names += list(GROUPS[word].ARMS) if word in GROUPS else [word]
    known = [name for module in GROUPS.values() for name in module.ARMS]
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no such arm: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _one_arm(name: str, settings: Settings) -> None:
    module = next(module for module in GROUPS.values() if name in module.ARMS)
    try:
        result = module.ARMS[name](name, settings)
    except Exception as error:  # an arm that fails is a result: out of memory, say
        reason = str(error).strip().splitlines() or ["no message"]
        (settings.out / f"{name}.json").write_text(json.dumps({"failed": f"{type(error).__name__}: {reason[0][:300]}"}))
        raise
    (settings.out / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")


def _run_all(names: list[str], settings: Settings, end: float) -> None:
    """One arm after the other: what runs beside one, an import even, would slow its host."""
    for name in names:
        if time.perf_counter() > end:
            print(f"{name}: not begun, the time is up", flush=True)
            continue
        began = time.perf_counter()
        start = _start if name in OWN_PROCESS else _fork
        process = start(name, settings)
        process.join(timeout=max(1.0, end + 60 - time.perf_counter()))
        if process.exitcode is None:
            process.kill()
            process.join()
        shown = {key: value for key, value in _result(settings, name).items() if key != "profile_ms"}
        print(f"{name}: {time.perf_counter() - began:.0f} s, {json.dumps(shown)[:300]}", flush=True)


def _fork(name: str, settings: Settings) -> Any:
    """A process that finds torch, transformers and TRL imported, and no GPU touched: half a minute saved an arm."""
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401
    from trl import GRPOTrainer, SFTTrainer  # noqa: F401

    process = multiprocessing.get_context("fork").Process(target=_child, args=(name, settings))
    process.start()
    return process


def _child(name: str, settings: Settings) -> None:
    log = os.open(settings.out / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    _one_arm(name, settings)


def _start(name: str, settings: Settings) -> Any:
    """A fresh interpreter: unsloth must be imported first, and vLLM starts processes of its own."""
    command = ["-m", "benchmarks.gpu", "--model", str(settings.model), "--out", str(settings.out), "--arm", name]
    command += ["--tiny"] * settings.tiny
    process = multiprocessing.get_context("fork").Process(target=_exec, args=(settings.out / f"{name}.log", command))
    process.start()
    return process


def _exec(log: Path, command: list[str]) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.execv(sys.executable, [sys.executable, *command])


def _result(settings: Settings, name: str) -> dict[str, Any]:
    path = settings.out / f"{name}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    log = settings.out / f"{name}.log"
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.is_file() else []
    return {"failed": "".join(last)[:300] or "not run"}


if __name__ == "__main__":
    main()
