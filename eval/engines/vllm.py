"""vLLM in processes of its own: the parent's side.

Base and adapters share an engine: every request names the LoRA adapter that answers it. For small models, several
processes share the requests. Token ids go in and come out; texts are made here, while the children generate.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import gettempdir
from threading import Thread
from typing import Any

from eval.engines.base import Completion, ModelSpec, Request, Sampling, Scored, engine_options, sample_seed
from eval.engines.vllm_child import Child, start_child
from eval.engines.vllm_placing import Place, places
from eval.gpus import gpus
from eval.prompts import Tokenizer, decode, load_tokenizer, tokenizer_dir
from rewards.core import UserError

# Ours; the rest of DEFAULTS goes to vllm.LLM as it is, None meaning its own choice.
OWN: dict[str, Any] = {
    "log_file": None,  # default: vllm-<pid>.log in the temporary directory; further processes add their number
    "processes": 1,  # engines that share the requests: on several GPUs, on one for a small model, on CPU cores
    "batch_invariant": False,  # the same numbers whatever shares the batch; needs kernels that a CPU hasn't
    # vLLM's scheduler in one more process, as vLLM has it by itself: overlaps with it, and batches come out a little
    # otherwise each time. Default: on a GPU.
    "engine_core_process": None,
}
DEFAULTS: dict[str, Any] = {
    **OWN,
    "dtype": "auto",
    "enforce_eager": None,  # default: only on CPU, where compiling takes a minute and gains 6%
    "max_model_len": None,
    "max_num_seqs": None,
    "max_num_batched_tokens": None,
    "gpu_memory_utilization": 0.9,  # processes that share a GPU share this
    "tensor_parallel_size": 1,
    "max_cudagraph_capture_size": None,
    "cudagraph_capture_sizes": None,
    "compilation_config": None,
    "async_scheduling": None,
    "enable_prefix_caching": None,
    "attention_backend": None,
}
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # vLLM sizes its adapter slots in these steps


@dataclass(slots=True)
class Engine:
    """The children, and which adapters they hold: slots maps an adapter's directory (None: the base) to its number.

    like: which child's KV cache another's on the same GPU equals, by their numbers.
    """

    children: tuple[Child, ...]
    slots: Mapping[Path | None, int]
    like: Mapping[int, int]

    def wait(self) -> None:
        """Until all are loaded (on a GPU, a minute). Raises UserError, with exit code 14, when vLLM can't start."""
        # The first on a GPU measures what is free; the others, which have imported all meanwhile, take as much.
        said = {number: child.receive() for number, child in enumerate(self.children) if number not in self.like}
        for number, first in self.like.items():
            self.children[number].send(said[first]["kv_cache"])
        for number in self.like:
            self.children[number].receive()

    def serve(self, model: ModelSpec, owner: bool = False) -> Vllm:
        """The generator of one of the models. owner: closing it ends the engine."""
        return Vllm(self, self.slots[model.adapter], load_tokenizer(tokenizer_dir(model)), owner)

    def ask(self, rows: Sequence[Any], **job: Any) -> Iterator[list[Any]]:
        """Deal the rows to the children in turn; yield what comes back, the row's number first.

        A thread a child, so that none waits until another has taken its rows, nor for us to score. Leaving the loop
        early, or one child's failure, ends all of them.
        """
        found: SimpleQueue[list[list[Any]] | Exception] = SimpleQueue()
        finished = False
        try:
            for place in range(len(self.children)):
                Thread(target=self._ask_one, args=(place, rows, job, found), daemon=True).start()
            left = len(rows)
            while left:
                answers = found.get()
                if isinstance(answers, Exception):
                    raise answers
                left -= len(answers)
                yield from answers
            finished = True
        finally:
            if not finished:
                self.kill()

    def _ask_one(
        self, place: int, rows: Sequence[Any], job: Mapping[str, Any], found: SimpleQueue[list[list[Any]] | Exception]
    ) -> None:
        child, mine = self.children[place], rows[place :: len(self.children)]
        try:
            child.send({"rows": len(mine), **job}, *mine)
            expected = len(mine)
            while expected:
                answers = child.receive()
                expected -= len(answers)
                found.put([[place + number * len(self.children), *rest] for number, *rest in answers])
        except Exception as error:  # whatever it is: `ask` waits for this thread, and raises it
            found.put(error)

    def kill(self) -> None:
        """End the children at once."""
        for child in self.children:
            child.kill()

    def close(self) -> None:
        """End the children in order."""
        for child in self.children:
            child.close()


@dataclass(slots=True)
class Vllm:
    """One model of an engine: the base, or the base with an adapter."""

    engine: Engine
    slot: int
    tokenizer: Tokenizer
    owner: bool

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """Everything is submitted at once; completions come as they finish. Leaving the loop early ends the engine."""
        places = [(request, index) for request in requests for index in range(sampling.n)]
        rows = [[request.prompt_ids, sample_seed(sampling, request.id, index), self.slot] for request, index in places]
        for number, reason, said in self.engine.ask(rows, sampling=asdict(sampling)):
            request, index = places[number]
            if reason == "error":
                yield Completion(request.id, index, said, "error", 0)
            else:
                text = decode(self.tokenizer, said, sampling.stop_token_ids)
                yield Completion(request.id, index, text, reason, len(said))

    def score(self, sequences: Sequence[tuple[Sequence[int], int]]) -> list[Scored]:
        """See `eval.engines.base.Scorer`. Raises UserError, with exit code 14, when vLLM refuses a sequence."""
        rows = [[list(ids), start, self.slot] for ids, start in sequences]
        found = {number: Scored(tuple(logprobs), tuple(best)) for number, logprobs, best in self.engine.ask(rows)}
        return [found[number] for number in range(len(rows))]

    def close(self) -> None:
        """End the engine, if it was started for this model alone."""
        if self.owner:
            self.engine.close()


def max_lora_rank(adapter: Path) -> int:
    """The smallest slot that vLLM has for the adapter's rank. Raises UserError without a whole adapter_config.json."""
    path = adapter / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        rank = max(config["r"], *(config.get("rank_pattern") or {}).values(), 1)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{adapter}: not a PEFT adapter ({path.name}: {error})") from error
    for slot in LORA_RANKS:
        if rank <= slot:
            return slot
    raise UserError(f"{adapter}: vLLM takes LoRA ranks up to {LORA_RANKS[-1]}, this one has {rank}: merge it first")


def target_modules(adapters: Sequence[Path]) -> list[str]:
    """The modules that the adapters change; empty when one of them names them by a pattern.

    vLLM otherwise prepares every module for adapters, the output layer included, and computes there for nothing.
    """
    found: set[str] = set()
    for adapter in adapters:
        names = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("target_modules")
        if not isinstance(names, list):
            return []
        found.update(names)
    return sorted(found)


def load(model: ModelSpec, options: Mapping[str, Any]) -> Vllm:
    """An engine for one model; see `load_shared`."""
    with _ended_by_errors(begin([model], options)) as engine:
        return loaded(engine, model)


def load_shared(models: Sequence[ModelSpec], options: Mapping[str, Any]) -> Engine:
    """Start one engine for a base and any of its adapters, and wait until it is loaded.

    Raises UserError as `begin`; for an option that the platform can't do; with exit code 14 when vLLM can't start.
    """
    with _ended_by_errors(begin(models, options)) as engine:
        engine.wait()
        return engine


@contextmanager
def _ended_by_errors(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    except BaseException:  # Ctrl-C too: the children are in sessions of their own and wouldn't notice
        engine.kill()
        raise


def loaded(engine: Engine, model: ModelSpec) -> Vllm:
    """The generator of a begun engine's only model, once that is loaded; the tokenizer is read meanwhile."""
    served = engine.serve(model, owner=True)
    engine.wait()
    return served


def begin(models: Sequence[ModelSpec], options: Mapping[str, Any]) -> Engine:
    """Start one engine for a base and any of its adapters; it loads until `Engine.wait` returns. Imports nothing heavy.

    Options: see DEFAULTS. Raises UserError for models of several bases, a directory without a model, an option that
    isn't one.
    """
    chosen = engine_options("vllm", DEFAULTS, options)
    base = models[0].path
    if any(model.path != base for model in models):
        raise UserError(
            f"one engine serves one base and its adapters, got {', '.join(str(each.path) for each in models)}"
        )
    if not (base / "config.json").is_file():
        raise UserError(f"{base}: no config.json there; give the directory of a full model")
    if chosen["processes"] > 1 and chosen["tensor_parallel_size"] > 1:
        raise UserError("options processes and tensor_parallel_size can't both be above 1: a process takes one GPU")
    adapters = list(dict.fromkeys(model.adapter for model in models if model.adapter is not None))
    engine: dict[str, Any] = {key: value for key, value in chosen.items() if key not in OWN and value is not None}
    engine |= {"model": str(base), "tokenizer": str(tokenizer_dir(models[0]))}
    if adapters:
        rank = max(map(max_lora_rank, adapters))
        engine |= {"enable_lora": True, "max_loras": len(adapters), "max_lora_rank": rank}
        if modules := target_modules(adapters):
            engine["lora_target_modules"] = modules
    found = places(int(chosen["processes"]))
    children = _start(engine, [str(each.resolve()) for each in adapters], chosen, found)
    like = {number: place.like for number, place in enumerate(found) if place.like is not None}
    return Engine(children, {None: 0, **{adapter: slot for slot, adapter in enumerate(adapters, 1)}}, like)


def _start(
    engine: Mapping[str, Any], adapters: Sequence[str], chosen: Mapping[str, Any], found: Sequence[Place]
) -> tuple[Child, ...]:
    environment = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": str(int(_core_process(chosen))),
        **({"VLLM_BATCH_INVARIANT": "1"} if chosen["batch_invariant"] else {}),
    }
    log_file = Path(chosen["log_file"] or Path(gettempdir()) / f"vllm-{os.getpid()}.log")
    first = {place.like for place in found}
    started: list[Child] = []
    try:
        for number, place in enumerate(found):
            started.append(start_child({**environment, **place.environment}, _numbered(log_file, number)))
            memory = {"gpu_memory_utilization": engine["gpu_memory_utilization"] * place.memory}
            cache = "told" if place.like is not None else "tell" if number in first else "own"
            started[number].send({"engine": {**engine, **memory}, "adapters": adapters, "kv_cache": cache})
    except BaseException:  # as in _ended_by_errors
        for child in started:
            child.kill()
        raise
    return tuple(started)


def _core_process(chosen: Mapping[str, Any]) -> bool:
    asked = chosen["engine_core_process"]
    # What is to be the same each time has one process that schedules.
    return bool(gpus()) and not chosen["batch_invariant"] if asked is None else bool(asked)


def _numbered(log_file: Path, number: int) -> Path:
    return log_file.with_stem(f"{log_file.stem}-{number}") if number else log_file
