"""vLLM in a process of its own: the child's side. Run by vllm_child.py; reads JSON lines on stdin, answers on stdout.

First line in: {"engine": arguments of vllm.LLM, "adapters": paths, "kv_cache": "own", "tell" or "told"}. Answer:
{"ready": true, "kv_cache": its size in bytes where the setup says "tell", else null}, or {"refused": reason} for what
the platform can't do. Of several on one GPU one measures and tells; those that are told get the size as a second line.
Then jobs: a line that counts the job's rows, and a line for each of them. "slot" is an adapter's place in that list,
from 1, or 0 for the base:
    {"rows": 3, "sampling": {…}}, [ids, seed, slot] …   answers [number of the row, finish reason, ids generated]
    {"rows": 3}, [ids, start, slot] …                   answers [number, logprobs of ids[start:], is each the likeliest]
A line out holds all answers that one step of the engine finished. {"failed": reason} is the last line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NoReturn

from eval.engines.vllm_memory import EXTENSION
from rewards.core import first_line, with_type

Answer = list[Any]


def main() -> int:
    """Serve until stdin closes."""
    # vLLM and its libraries print to stdout: keep the real one for answers, send everything else to the log
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # A fork of this process (vLLM's engine core) that outlives it must not keep the parent waiting for an answer.
    os.register_at_fork(after_in_child=answers.close)
    try:
        setup = json.loads(sys.stdin.readline())
        leave_out_torchao(Path(setup["engine"]["model"]))
        if refusal := cannot():
            answer(answers, {"refused": refusal})
            return 2
        llm, adapters = start(setup)
        cache = llm.collective_rpc("measured_kv_cache_bytes")[0] if setup["kv_cache"] == "tell" else None
        answer(answers, {"ready": True, "kv_cache": cache})
        lines = map(json.loads, sys.stdin)
        for job in lines:
            rows, sampling = islice(lines, job["rows"]), job.get("sampling")
            for found in complete(llm, adapters, rows, sampling) if sampling else score(llm, adapters, list(rows)):
                answer(answers, found)
        leave(llm)
    except BrokenPipeError:
        return 0  # the parent has gone, or has stopped listening
    except Exception as error:  # whatever it is: the log gets the traceback, the parent one line
        answer(answers, {"failed": with_type(error)[:500]})
        raise
    return 0


def leave(llm: Any) -> NoReturn:
    """End the engine in order, and this process at once: the interpreter takes seconds to clear away all that."""
    llm.llm_engine.engine_core.shutdown()
    os._exit(0)


def answer(answers: IO[str], message: Mapping[str, Any] | list[Answer]) -> None:
    """One line to the parent, at once."""
    answers.write(json.dumps(message, separators=(",", ":")) + "\n")
    answers.flush()


def leave_out_torchao(model: Path) -> None:
    """Keep transformers from importing torchao, which it does for every model, unless this one is quantized with it.

    torchao takes seconds, and asks a GPU for its capability. CUDA is then initialized, so that vLLM can't fork its
    engine process: it starts it anew, and all imports with it.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    if (config.get("quantization_config") or {}).get("quant_method") != "torchao":
        sys.modules["torchao"] = None  # type: ignore[assignment]  # "not found", for every import from here on


def cannot() -> str | None:
    """Why this platform can't do what the environment asks for; vLLM itself would ignore it without a word."""
    from vllm.platforms import current_platform

    if os.environ.get("VLLM_BATCH_INVARIANT") == "1" and current_platform.is_cpu():
        return (
            "option batch_invariant: vLLM's batch-invariant kernels need a GPU, this is its CPU build; leave it out, "
            "and measure the noise instead (toolkit eval --shuffle SEED)"
        )
    return None


def start(setup: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """The loaded LLM, and by slot its LoRARequests; the base's slot holds None."""
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs
    from vllm.lora.request import LoRARequest
    from vllm.platforms import current_platform

    arguments = {"enforce_eager": current_platform.is_cpu(), **setup["engine"]}
    if not hasattr(EngineArgs, "lora_target_modules"):  # an older vLLM
        arguments.pop("lora_target_modules", None)
    if setup["kv_cache"] == "tell":
        arguments["worker_extension_cls"] = EXTENSION
    elif setup["kv_cache"] == "told":
        arguments["kv_cache_memory_bytes"] = json.loads(sys.stdin.readline())
    llm = LLM(**arguments)
    requests = [LoRARequest(f"adapter-{slot}", slot, path) for slot, path in enumerate(setup["adapters"], 1)]
    return llm, [None, *requests]


def complete(llm: Any, adapters: list[Any], rows: Iterable[Any], sampling: Mapping[str, Any]) -> Iterator[list[Answer]]:
    """Submit all rows as they are read, then step the engine and yield what each step finishes.

    LLM.generate would give everything at the end; the engine's own loop lets records be written as they come.
    """
    greedy = sampling_params(sampling, None) if sampling["temperature"] == 0 else None
    refused = []
    for number, (ids, seed, slot) in enumerate(rows):
        params = greedy or sampling_params(sampling, seed)
        if reason := submit(llm, number, ids, params, adapters[slot]):
            refused.append([number, "error", reason])
    if refused:
        yield refused
    yield from steps(llm, generated)


def generated(output: Any) -> Answer:
    """What a finished request generated."""
    done = output.outputs[0]
    if done.finish_reason in ("stop", "length"):
        return [int(output.request_id), done.finish_reason, list(done.token_ids)]
    return [int(output.request_id), "error", f"vLLM ended it: {done.finish_reason}"]


def score(llm: Any, adapters: list[Any], rows: Sequence[Any]) -> Iterator[list[Answer]]:
    """Log probabilities of given tokens: those of a prompt, which vLLM computes on the way to one new token.

    One prompt at a time: with several and an adapter, vLLM takes the logits of a prompt's tokens for those of requests
    (0.32: LogitsProcessorWithLoRA fails, or adds another request's).
    """
    from vllm import SamplingParams

    def scored(output: Any) -> Answer:
        number = int(output.request_id)
        pairs = list(zip(output.prompt_token_ids, output.prompt_logprobs, strict=True))
        found = [probabilities[token] for token, probabilities in pairs[rows[number][1] :]]
        return [number, [each.logprob for each in found], [each.rank == 1 for each in found]]

    for number, (ids, _, slot) in enumerate(rows):
        params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        if reason := submit(llm, number, ids, params, adapters[slot]):
            raise ValueError(reason)
        yield from steps(llm, scored)


def submit(llm: Any, number: int, ids: list[int], params: Any, adapter: Any) -> str | None:
    """Queue one prompt. Gives the reason when vLLM refuses it: for instance, longer than the model takes."""
    from vllm import TokensPrompt

    try:
        llm.llm_engine.add_request(str(number), TokensPrompt(prompt_token_ids=ids), params, lora_request=adapter)
    except ValueError as error:
        return first_line(error)[:500]
    return None


def steps(llm: Any, read: Callable[[Any], Answer]) -> Iterator[list[Answer]]:
    """Step the engine until it is idle; yield what each step finished."""
    engine = llm.llm_engine
    while engine.has_unfinished_requests():
        finished = [read(output) for output in engine.step() if output.finished]
        if finished:
            yield finished


def sampling_params(sampling: Mapping[str, Any], seed: int | None) -> Any:
    """vLLM's SamplingParams, everything written out: its default is 16 tokens at temperature 1.

    detokenize is off because the parent does it, the same way for every engine.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        n=1,
        max_tokens=sampling["max_tokens"],
        temperature=sampling["temperature"],
        top_p=sampling["top_p"],
        top_k=0,
        min_p=0.0,
        repetition_penalty=1.0,
        seed=seed,
        stop_token_ids=sampling["stop_token_ids"],
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


if __name__ == "__main__":
    sys.exit(main())
