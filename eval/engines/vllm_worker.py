"""vLLM in a process of its own: the child's side. Run by vllm.py; reads JSON lines on stdin, answers on stdout.

First line in: {"engine": arguments of vllm.LLM, "adapter": path or null}; answer {"ready": true}. Then, for each line
{"rows": [{"id", "index", "ids", "seed"}], "sampling": {...}}, one line a row as it finishes. {"failed": reason} is the
last line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import IO, Any

from eval.prompts import decode


def main() -> int:
    """Serve until stdin closes."""
    # vLLM and its libraries print to stdout: keep the real one for answers, send everything else to the log
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        setup = json.loads(sys.stdin.readline())
        llm, adapter = start(setup)
        answer(answers, {"ready": True})
        for line in sys.stdin:
            for row in complete(llm, adapter, json.loads(line)):
                answer(answers, row)
    except BrokenPipeError:
        return 0  # the parent has gone, or has stopped listening
    except Exception as error:  # whatever it is: the log gets the traceback, the parent one line
        answer(answers, {"failed": f"{type(error).__name__}: {first_line(error)}"})
        raise
    return 0


def answer(answers: IO[str], message: Mapping[str, Any]) -> None:
    """One line to the parent, at once."""
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    return next(iter(str(error).strip().splitlines()), "")[:500]


def start(setup: Mapping[str, Any]) -> tuple[Any, Any]:
    """The loaded LLM and the LoRARequest of its adapter, or None."""
    from vllm import LLM
    from vllm.lora.request import LoRARequest
    from vllm.platforms import current_platform

    adapter = setup["adapter"]
    llm = LLM(**{"enforce_eager": current_platform.is_cpu(), **setup["engine"]})
    return llm, None if adapter is None else LoRARequest("adapter", 1, adapter)


def complete(llm: Any, adapter: Any, job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Submit all rows, then step the engine and yield each row as it finishes.

    LLM.generate would give everything at the end; the engine's own loop lets records be written as they come.
    """
    from vllm import TokensPrompt

    engine, rows, sampling = llm.llm_engine, job["rows"], job["sampling"]
    for number, row in enumerate(rows):
        prompt = TokensPrompt(prompt_token_ids=row["ids"])
        try:
            engine.add_request(str(number), prompt, sampling_params(sampling, row["seed"]), lora_request=adapter)
        except ValueError as error:  # this prompt only: for instance, longer than the model takes
            yield {**place(row), "text": first_line(error), "finish_reason": "error", "tokens": 0}
    tokenizer = llm.get_tokenizer()
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                done = output.outputs[0]
                text = decode(tokenizer, done.token_ids, sampling["stop_token_ids"])
                reason = done.finish_reason if done.finish_reason in ("stop", "length") else "error"
                row = place(rows[int(output.request_id)])
                yield {**row, "text": text, "finish_reason": reason, "tokens": len(done.token_ids)}


def place(row: Mapping[str, Any]) -> dict[str, Any]:
    """Which sample a row is."""
    return {"id": row["id"], "index": row["index"]}


def sampling_params(sampling: Mapping[str, Any], seed: int) -> Any:
    """vLLM's SamplingParams, everything written out: its default is 16 tokens at temperature 1.

    detokenize is off because `eval.prompts.decode` does it, the same way for every engine.
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
