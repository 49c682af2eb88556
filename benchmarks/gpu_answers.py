"""The evaluation arms: vLLM as it comes, and with settings for a small model; the greedy answers must be the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_common import MAX_LENGTH, Settings, wait_for_turn

TOKENS = 256
TUNED = {
    "max_num_seqs": 1024,
    "max_num_batched_tokens": 32_768,
    "max_model_len": MAX_LENGTH + TOKENS,
    "compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"},
    "disable_log_stats": True,
}


def _weights(settings: Settings) -> str:
    trained = settings.out / "warm" / "sft" / "weights"
    return str(trained if trained.is_dir() else settings.model)


def _prompts(settings: Settings) -> list[list[int]]:
    from eval.prompts import load_tokenizer, render_prompt
    from toolkit.data import read_examples

    tokenizer = load_tokenizer(settings.model)
    return [render_prompt(tokenizer, each.messages) for each in read_examples(settings.out / "data" / "test.jsonl")]


def _engine(
    settings: Settings, *, options: Mapping[str, Any], detokenize: bool, share: float = 0.9, part: int = 0,
    parts: int = 1, start: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """One engine over every parts-th prompt; `start`: a moment that several engines wait for."""
    from vllm import LLM, SamplingParams, TokensPrompt

    prompts = [TokensPrompt(prompt_token_ids=ids) for ids in _prompts(settings)[part::parts]]
    began = time.perf_counter()
    llm = LLM(_weights(settings), dtype="bfloat16", gpu_memory_utilization=share, **options)
    loaded = time.perf_counter() - began
    params = SamplingParams(temperature=0.0, max_tokens=8 if settings.tiny else TOKENS, detokenize=detokenize)
    llm.generate(prompts[:8], params, use_tqdm=False)
    time.sleep(max(0.0, start - time.time()))
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
    start = time.time() + 75
    processes = []
    for part in range(engines):
        arguments = {
            "model": str(settings.model), "out": str(settings.out), "tiny": settings.tiny, "part": part,
            "parts": engines, "share": round(0.85 / engines, 3), "start": start,
        }  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.gpu_answers", json.dumps(arguments)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        time.sleep(6)  # each engine measures the memory that is free when it starts
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
    print("RESULT" + json.dumps(_engine(settings, options=TUNED, detokenize=False, **arguments)))


if __name__ == "__main__":
    _part(sys.argv[1])
