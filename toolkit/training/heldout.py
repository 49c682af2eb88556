"""The held-out strict metric while a model trains: greedy answers to examples of `validation`, scored as reports are.

Each evaluation is a line of STAGE/held_out.jsonl; the step with the best one is what the stage keeps (`best_of`). The
random state, the model's mode and its attention are as before when an evaluation ends: training goes on as if there
had been none.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

import torch
from transformers import TrainerCallback

from eval.engines.base import Completion, Request, Sampling
from eval.engines.transformers import Transformers
from eval.prompts import decode, prompt_hash, render_prompts
from eval.records import Record, score
from eval.shown import percent
from rewards.core import Example, UserError
from tasks.base import Task
from toolkit.config import GrpoConfig, SftConfig
from toolkit.data import read_examples
from toolkit.rundir import Run, read_log
from toolkit.stages import task_of
from toolkit.training.backends import ends_of
from toolkit.training.packing import own_attention_of
from toolkit.training.processes import gathered, rank, world

HISTORY = "held_out.jsonl"
BATCH = 32  # answers generated together
SHARE = 0.1  # of the completions that GRPO samples, that `auto` may add
MOST = 10  # evaluations of a training under `auto`

Entry = Mapping[str, Any]
"""step, exact, format, truncated (shares of the examples), examples, tokens (mean), seconds, train_reward (the mean of
the training's rewards since the entry before, or None)."""
Alarm = Callable[[Sequence[Entry], Any, Any], None]
"""(history, the trainer's state, its control)"""


def steps_between(config: SftConfig | GrpoConfig, examples: int) -> int | None:
    """Optimizer steps from one evaluation to the next; None for no evaluation."""
    if config.evaluate_steps != "auto":
        return config.evaluate_steps
    assert isinstance(config, GrpoConfig)  # sft has no auto: its steps generate nothing to compare the cost with
    every = max(math.ceil(examples / (SHARE * config.sampled)), math.ceil(config.steps / MOST))
    return every if every <= config.steps // 2 else None


def best_of(history: Sequence[Entry], kept: Callable[[int], bool]) -> Entry | None:
    """The entry with the highest exact, of equals the latest; of steps whose weights are kept."""
    trained = [each for each in history if each["step"] > 0 and kept(each["step"])]
    return max(trained, key=lambda each: (each["exact"], each["step"]), default=None)


def held_out(run: Run, stage: str, trainer: Any, tokenizer: Any, terminal: TextIO) -> HeldOut | None:
    """The callback that a recipe asks for, or None. Raises UserError where the weights are sharded."""
    config = run.recipe.sft if stage == "sft" else run.recipe.grpo
    assert config is not None
    if run.recipe.task is None or config.evaluate_steps is None:
        return None
    examples = read_examples(run.dir / "data" / "validation.jsonl")[: config.evaluate_examples]
    examples = examples[: len(examples) - len(examples) % world()] or examples  # every process answers as many
    every = steps_between(config, len(examples))
    if trainer.is_fsdp_enabled and config.evaluate_steps != "auto":
        raise UserError(
            f"{stage}.evaluate_steps: sharded weights (FSDP) don't generate here; set it to null, or use DDP"
        )
    if every is None or trainer.is_fsdp_enabled or len(examples) < world():
        return None
    ends = ends_of(run.recipe, tokenizer)
    sampling = Sampling(run.recipe.eval.max_tokens, seed=run.recipe.seed, stop_token_ids=ends)
    exam = Exam(trainer, tokenizer, replace(task_of(run.recipe), rewards={}), tuple(examples), sampling)
    return HeldOut(exam, every, run.dir / stage / HISTORY, stage, terminal)


@dataclass(frozen=True, slots=True)
class Exam:
    """The questions, and who is asked: the model in training. task: without rewards, only its metric counts here."""

    trainer: Any
    tokenizer: Any
    task: Task
    examples: tuple[Example, ...]
    sampling: Sampling

    def take(self) -> dict[str, Any]:
        """Answer and score. Of several processes each answers its part; all get the figures of the whole."""
        started = time.perf_counter()
        mine = self.examples[rank() :: world()]
        prompts = render_prompts(self.tokenizer, [each.messages for each in mine])
        requests = [Request(each.id, tuple(ids), each.messages) for each, ids in zip(mine, prompts, strict=True)]
        by_id = {each.id: each for each in mine}
        with undisturbed(self.trainer) as model:
            answers = list(self._answers(model, requests))
        rows = gathered([_row(self._score(by_id[answer.request_id], answer)) for answer in answers])
        exact, form, cut, tokens = (fmean(column) for column in zip(*rows, strict=True))
        figures = {"exact": round(exact, 6), "format": round(form, 6), "truncated": round(cut, 6)}
        seconds = round(time.perf_counter() - started, 2)
        return {**figures, "examples": len(rows), "tokens": round(tokens, 1), "seconds": seconds}

    def _answers(self, model: Any, requests: Sequence[Request]) -> Iterator[Completion]:
        if getattr(self.trainer, "vllm_generation", None) is None:
            yield from Transformers(model, self.tokenizer, BATCH).generate(requests, self.sampling)
            return
        stops = self.sampling.stop_token_ids
        found = vllm_answers(self.trainer, [list(each.prompt_ids) for each in requests], self.sampling)
        for request, ids in zip(requests, found, strict=True):
            whole = bool(ids) and ids[-1] in stops
            text = decode(self.tokenizer, ids, stops)
            yield Completion(request.id, 0, text, "stop" if whole else "length", len(ids))

    def _score(self, example: Example, answer: Completion) -> Record:
        try:
            return score(self.task, example, answer, prompt_hash(()))
        except UserError as error:  # the metric broke its contract: no reason to lose the training
            return score(self.task, example, replace(answer, finish_reason="error", text=str(error)), prompt_hash(()))


def _row(record: Record) -> tuple[float, bool, bool, int]:
    return record.score, record.well_formed, record.status == "truncated", record.tokens


def vllm_answers(trainer: Any, prompts: list[list[int]], sampling: Sampling) -> list[list[int]]:
    """Greedy answers by the engine that makes GRPO's rollouts, in this process or a server's, with today's weights."""
    engine = trainer.vllm_generation
    engine.sync_weights()
    trainer._last_loaded_step = trainer.state.global_step  # the next rollouts need no second copy
    wanted = {
        "temperature": 0.0,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "max_completion_length": sampling.max_tokens,
        "generation_kwargs": {"stop_token_ids": list(sampling.stop_token_ids)},
    }
    before = {name: getattr(engine, name) for name in wanted}
    try:
        for name, value in wanted.items():
            setattr(engine, name, value)
        _, answers, *_ = engine.generate(prompts, None, 1)
    finally:
        for name, value in before.items():
            setattr(engine, name, value)
    return [list(each) for each in answers]


@contextmanager
def undisturbed(trainer: Any) -> Iterator[Any]:
    """The model ready to generate; afterwards it is as before, and so are the random states."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    training = model.training
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(own_attention_of(model))
        stack.enter_context(trainer.accelerator.autocast())  # layers may hand on bfloat16 from float32 weights
        stack.enter_context(torch.compiler.set_stance("force_eager"))  # every length would compile again
        model.eval()
        try:
            yield model
        finally:
            model.train(training)


@dataclass
class HeldOut(TrainerCallback):
    """Takes the exam every so many steps and after the last one; a step that is the best so far is saved at once.

    alarm: told of the history after each exam but the first, which is taken before a training's first step.
    """

    exam: Exam
    every: int
    path: Path
    title: str
    terminal: TextIO
    alarm: Alarm = lambda history, state, control: None
    history: list[Entry] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    def read_history(self) -> None:
        """What a run that goes on has behind it; a step is logged after its exam."""
        self.history = list(read_log(self.path))
        since = self.history[-1]["step"] if self.history else 0
        for row in read_log(self.path.with_name("log.jsonl")):
            if row["step"] >= since:
                self.on_log(None, None, None, row)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The model before its first step, for the curve."""
        if state.global_step == 0 and not self.history:
            self._take(state)
        if (best := best_of(self.history, lambda step: True)) is not None:
            state.best_global_step, state.best_metric = best["step"], best["exact"]

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Remember the training's rewards."""
        if isinstance(value := (logs or {}).get("reward"), int | float):
            self.rewards.append(float(value))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after each optimizer step, before it logs and saves."""
        if state.global_step % self.every and state.global_step < state.max_steps:
            return
        if self.history and self.history[-1]["step"] >= state.global_step:
            return
        entry = self._take(state)
        if best_of(self.history, lambda step: True) is entry:
            # transformers keeps the checkpoint of this step whatever save_total_limit says
            state.best_global_step, state.best_metric = entry["step"], entry["exact"]
            control.should_save = True
        self.alarm(self.history, state, control)

    def _take(self, state: Any) -> Entry:
        figures = self.exam.take()
        reward = round(fmean(self.rewards), 6) if self.rewards else None
        entry = {"step": state.global_step, **figures, "train_reward": reward}
        self.rewards.clear()
        self.history.append(entry)
        if rank() == 0:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            exact, kept, cut = (percent(figures[name]) for name in ("exact", "format", "truncated"))
            print(
                f"{self.title}: step {entry['step']}, held-out: {exact} exact, {kept} "
                f"well formed, {cut} cut ({figures['examples']} examples, {figures['seconds']} s)",
                file=self.terminal,
                flush=True,
            )
        return entry
