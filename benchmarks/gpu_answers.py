"""The evaluation arms: vLLM as it comes, and the toolkit's engine with settings for a small model, with one process on
the card and with several; the greedy answers must be the same.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_common import TASK, Settings, timed, wait_for_turn

TOKENS = 256
REQUESTS = 12_000  # fewer, and eight processes measure how long the longest answer takes
BARE_REQUESTS = 6_000  # their first: a scheduler that is the limit has one rate, and half a minute is enough to see it
TUNED = {"dtype": "bfloat16", "max_num_batched_tokens": 32_768}
# Where several engines keep the card busy, its kernels count: Triton's attend faster over many short sequences than
# FlashAttention 3 (docs/benchmarks.md).
SHARED = {"attention_backend": "TRITON_ATTN"}


def _weights(settings: Settings) -> Path:
    trained = settings.out / "warm" / "sft" / "weights"
    return trained if trained.is_dir() else settings.model


def _tokens(settings: Settings) -> int:
    return 8 if settings.tiny else TOKENS


def _prompts(settings: Settings) -> list[list[int]]:
    from eval.prompts import load_tokenizer, render_prompts
    from tasks.registry import load_task

    examples = load_task(TASK).examples("test", 16 if settings.tiny else REQUESTS, 0)
    return render_prompts(load_tokenizer(settings.model), [each.messages for each in examples])


def _bare(name: str, settings: Settings) -> dict[str, Any]:
    """LLM.generate, nothing set."""
    from vllm import LLM, SamplingParams, TokensPrompt

    from eval.prompts import decode, load_tokenizer, stop_token_ids

    wait_for_turn(settings, name)
    prompts = [TokensPrompt(prompt_token_ids=ids) for ids in _prompts(settings)[:BARE_REQUESTS]]
    began = time.perf_counter()
    llm = LLM(str(_weights(settings)), dtype="bfloat16")
    loaded = time.perf_counter() - began
    params = SamplingParams(temperature=0.0, max_tokens=_tokens(settings))
    llm.generate(prompts[:8], params, use_tqdm=False)
    began = time.perf_counter()
    outputs = [output.outputs[0].token_ids for output in llm.generate(prompts, params, use_tqdm=False)]
    seconds = time.perf_counter() - began
    timed(settings, name)
    tokenizer = load_tokenizer(_weights(settings))
    stops = stop_token_ids(tokenizer, _weights(settings))
    return _figures(loaded, seconds, sum(map(len, outputs)), [decode(tokenizer, ids, stops) for ids in outputs])


def _seats(count: int) -> dict[str, Any]:
    """The options for count requests at a time, with CUDA graphs for decoding up to so many."""
    sizes = [1, *range(8, 64, 8), *range(64, 256, 32), *range(256, 1024, 64), *range(1024, count + 1, 256)]
    return {
        "max_num_seqs": count,
        "compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": sizes},
    }


def _ours(name: str, settings: Settings, *, processes: int, seats: int) -> dict[str, Any]:
    """eval.engines.vllm, its texts included; 0.85 of the memory, the rest for what several processes take beside.

    seats: requests that an engine answers at a time.
    """
    from eval.engines.base import ModelSpec, Request, Sampling
    from eval.engines.vllm import load
    from eval.prompts import load_tokenizer, stop_token_ids

    wait_for_turn(settings, name)
    processes = min(processes, os.cpu_count() or 1) if settings.tiny else processes
    weights = _weights(settings)
    requests = [Request(str(number), tuple(ids), ()) for number, ids in enumerate(_prompts(settings))]
    sampling = Sampling(_tokens(settings), stop_token_ids=stop_token_ids(load_tokenizer(weights), weights))
    own = {"processes": processes, "gpu_memory_utilization": 0.85, "log_file": settings.out / f"{name}.vllm.log"}
    shared = SHARED if processes > 1 and not settings.tiny else {}
    began = time.perf_counter()
    engine = load(ModelSpec(weights, None, name), {**TUNED, **_seats(seats), **shared, **own})
    loaded = time.perf_counter() - began
    list(engine.generate(requests[: 8 * processes], sampling))
    began = time.perf_counter()
    found = {int(each.request_id): each for each in engine.generate(requests, sampling)}
    seconds = time.perf_counter() - began
    timed(settings, name)
    engine.close()
    answers = [found[number].text for number in range(len(requests))]
    return _figures(loaded, seconds, sum(each.tokens for each in found.values()), answers)


def _figures(loaded: float, seconds: float, tokens: int, answers: Sequence[str]) -> dict[str, Any]:
    return {
        "requests_per_second": round(len(answers) / seconds),
        "tokens_per_second": round(tokens / seconds),
        "load_s": round(loaded, 1),
        "requests": len(answers),
        "hashes": [hashlib.sha256(answer.encode()).hexdigest()[:6] for answer in answers],
    }


ARMS: dict[str, Callable[[str, Settings], dict[str, Any]]] = {
    "vllm": _bare,
    "vllm-tuned": partial(_ours, processes=1, seats=1024),
    "vllm-tuned-x4": partial(_ours, processes=4, seats=3072),  # a seat for every request
    "vllm-tuned-x8": partial(_ours, processes=8, seats=1536),
}


def print_table(results: Mapping[str, Mapping[str, Any]]) -> None:
    """same: of the answers that vLLM as it comes gave too, how many are word for word its own."""
    if not results:
        return
    reference = results.get("vllm", {}).get("hashes")
    print(f"\n{'evaluation arm':<20}{'requests/s':>11}{'tokens/s':>10}{'load, s':>9}{'same':>14}")
    for name, row in results.items():
        if "failed" in row:
            print(f"{name:<20} {row['failed'][:90]}")
            continue
        same = sum(one == other for one, other in zip(row["hashes"], reference or (), strict=False))
        same_text = f"{same}/{len(reference)}" if reference else ""
        print(
            f"{name:<20}{row['requests_per_second']:>11,}{row['tokens_per_second']:>10,}{row['load_s']:>9}"
            f"{same_text:>14}"
        )
