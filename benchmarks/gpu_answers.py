"""The evaluation arms: vLLM as it comes, and with settings for a small model; the greedy answers must be the same."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_common import MAX_LENGTH, TASK, Settings, wait_for, wait_for_turn

TOKENS = 256
REQUESTS = 6_000
TUNED = {
    "max_num_seqs": 1024,
    "max_num_batched_tokens": 32_768,
    "max_model_len": MAX_LENGTH + TOKENS,
    "compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "max_cudagraph_capture_size": 1024},
    "disable_log_stats": True,
}


def _weights(settings: Settings) -> str:
    trained = settings.out / "warm" / "sft" / "weights"
    return str(trained if trained.is_dir() else settings.model)


def _prompts(settings: Settings) -> list[list[int]]:
    from eval.prompts import load_tokenizer, render_prompts
    from tasks.registry import load_task

    examples = load_task(TASK).examples("test", 16 if settings.tiny else REQUESTS, 0)
    return render_prompts(load_tokenizer(settings.model), [each.messages for each in examples])


def _engine(
    settings: Settings, *, options: Mapping[str, Any], detokenize: bool, share: float = 0.9, part: int = 0,
    parts: int = 1, meeting: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One engine over every parts-th prompt; `meeting`: a folder in which several engines wait for each other."""
    from vllm import LLM, SamplingParams, TokensPrompt

    prompts = [TokensPrompt(prompt_token_ids=ids) for ids in _prompts(settings)[part::parts]]
    began = time.perf_counter()
    llm = LLM(_weights(settings), dtype="bfloat16", gpu_memory_utilization=share, **options)
    loaded = time.perf_counter() - began
    params = SamplingParams(temperature=0.0, max_tokens=8 if settings.tiny else TOKENS, detokenize=detokenize)
    llm.generate(prompts[:8], params, use_tqdm=False)
    if meeting is not None:
        (meeting / str(part)).touch()
        while len(list(meeting.iterdir())) < parts:
            time.sleep(0.01)
    began = time.time()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    ended = time.time()
    answers = [list(output.outputs[0].token_ids) for output in outputs]
    return {
        "began": began,
        "ended": ended,
        "load_s": round(loaded, 1),
        "tokens": sum(map(len, answers)),
        "answers": answers,
    }


def _one(name: str, settings: Settings, **options: Any) -> dict[str, Any]:
    import vllm  # noqa: F401

    wait_for_turn(settings, name)
    return _figures([_engine(settings, **options)])


def _several(name: str, settings: Settings, *, engines: int) -> dict[str, Any]:
    """Several engines, each with its share of the memory, since one keeps neither the host nor the chip busy."""
    wait_for_turn(settings, name)
    meeting = settings.out / f".{name}"
    shutil.rmtree(meeting, ignore_errors=True)
    meeting.mkdir()
    processes = []
    for part in range(engines):
        arguments = {
            "model": str(settings.model), "out": str(settings.out), "tiny": settings.tiny, "part": part,
            "parts": engines, "share": round(0.85 / engines, 3), "meeting": str(meeting),
        }  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.gpu_answers", json.dumps(arguments)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        # vLLM measures the memory that is free while it starts, and gives up when another engine changes it meanwhile
        wait_for(processes[-1], meeting / str(part))
        if not (meeting / str(part)).exists():  # it has ended before it was loaded: the others would wait for it
            for process in processes:
                process.kill()
            raise RuntimeError(f"engine {part} of {engines} ended with {processes[-1].poll()}")
    parts = []
    for process in processes:
        said, _ = process.communicate()
        parts.append(json.loads(said.rpartition("RESULT")[2]))
    return _figures(parts)


def _figures(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Of engines that share the prompts round robin."""
    seconds = max(part["ended"] for part in parts) - min(part["began"] for part in parts)
    count = sum(len(part["answers"]) for part in parts)
    ordered = [parts[place % len(parts)]["answers"][place // len(parts)] for place in range(count)]
    return {
        "requests_per_second": round(count / seconds),
        "tokens_per_second": round(sum(part["tokens"] for part in parts) / seconds),
        "load_s": max(part["load_s"] for part in parts),
        "requests": count,
        "hashes": [hashlib.sha256(json.dumps(answer).encode()).hexdigest()[:6] for answer in ordered],
    }


ARMS: dict[str, Callable[[str, Settings], dict[str, Any]]] = {
    "vllm": partial(_one, options={}, detokenize=True),
    "vllm-tuned": partial(_one, options=TUNED, detokenize=False),
    "vllm-tuned-x4": partial(_several, engines=4),
    "vllm-tuned-x8": partial(_several, engines=8),
}


def print_table(results: Mapping[str, Mapping[str, Any]]) -> None:
    """same: of the answers, how many are token for token those of vLLM as it comes."""
    if not results:
        return
    reference = results.get("vllm", {}).get("hashes")
    print(f"\n{'evaluation arm':<20}{'requests/s':>11}{'tokens/s':>10}{'load, s':>9}{'same':>12}")
    for name, row in results.items():
        if "failed" in row:
            print(f"{name:<20} {row['failed'][:90]}")
            continue
        same = sum(one == other for one, other in zip(row["hashes"], reference, strict=True)) if reference else 0
        same_text = f"{same}/{row['requests']}" if reference else ""
        print(
            f"{name:<20}{row['requests_per_second']:>11,}{row['tokens_per_second']:>10,}{row['load_s']:>9}"
            f"{same_text:>12}"
        )


def _part(text: str) -> None:
    """The process of one of several engines."""
    arguments = json.loads(text)
    settings = Settings(Path(arguments.pop("model")), Path(arguments.pop("out")), arguments.pop("tiny"))
    arguments["meeting"] = Path(arguments["meeting"])
    print("RESULT" + json.dumps(_engine(settings, options=TUNED, detokenize=False, **arguments)))


if __name__ == "__main__":
    _part(sys.argv[1])
