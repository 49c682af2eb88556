"""The box: one worker keeps the models and answers one question at a time; a page asks how far it has got."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from eval.engines.base import Generator, ModelSpec
from eval.engines.registry import load_engine
from eval.redaction import redact_text
from rewards.core import Message, UserError, with_type
from tasks.registry import load_task
from toolkit.models import resolve_model
from toolkit.predict import FIELDS, asked, moment_fields, moment_of, prediction_of, prepared_for
from toolkit.report import trained_title
from toolkit.rundir import Run
from toolkit.stages import model_of, task_of
from toolkit.ui.live import stamp

State = Literal["waiting", "loading", "answering", "done", "failed"]
LOADED = 2  # models in memory: the tuned and the base
WAITING = 8  # questions in line
PATIENCE = 5.0  # seconds that the end of the server waits for a busy model
KEPT = 64  # questions whose answers can still be read
LONGEST = 2000  # characters of a question


@dataclass(slots=True)
class Side:
    """One model's part of a question. problem: why there is no answer, in words. seconds: of loading and answering."""

    name: str
    title: str
    state: State = "waiting"
    reasoning: str | None = None
    answer: str | None = None
    completion: str = ""
    tokens: int | None = None
    problem: str | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Question:
    """What was asked of a run's models, and what they said so far. plain: the run has no task, so no form to keep."""

    id: str
    text: str
    run: Run
    messages: tuple[Message, ...]
    plain: bool
    sides: dict[str, Side] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For the page."""
        sides = [{key: getattr(side, key) for key in Side.__slots__} for side in self.sides.values()]
        done = all(side.state in ("done", "failed") for side in self.sides.values())
        return {"id": self.id, "text": self.text, "plain": self.plain, "done": done, "sides": sides}


class Asker:
    """Answers questions in a thread of its own. Models are loaded at the first question that needs them."""

    def __init__(self, engine: str, options: Mapping[str, Any], max_tokens: int) -> None:
        self.engine, self.options, self.max_tokens = engine, options, max_tokens
        self.line: queue.Queue[Question] = queue.Queue(WAITING)
        self.questions: OrderedDict[str, Question] = OrderedDict()
        self.loaded: OrderedDict[tuple[ModelSpec, str], Generator] = OrderedDict()
        self.lock = threading.Lock()  # of the models; held while one loads or answers
        self.door = threading.Lock()  # of the line of questions
        self.thread: threading.Thread | None = None

    def ask(self, run: Run, text: str, when: Mapping[str, str]) -> Question:
        """Put a question in line. when: date, time and offset, as far as the page has them. Raises UserError."""
        text = text.strip()
        if not text:
            raise UserError("the phrase is empty; type what a person would say")
        if len(text) > LONGEST:
            raise UserError(f"the phrase has {len(text)} characters; at most {LONGEST} are asked")
        plain = run.recipe.task is None
        messages = asked(None if plain else task_of(run.recipe), text, moment_from(when))
        question = Question(uuid4().hex[:12], text, run, messages, plain)
        question.sides = {"base": Side("base", "base"), "tuned": Side("tuned", trained_title(run.recipe))}
        with self.door:
            try:
                self.line.put_nowait(question)
            except queue.Full:
                raise UserError(f"{WAITING} questions are waiting already; ask again when one is answered") from None
            self.questions[question.id] = question
            while len(self.questions) > KEPT:
                self.questions.popitem(last=False)
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, name="models", daemon=True)
                self.thread.start()
        return question

    def close(self) -> None:
        """Free the models, unless one is busy for long: the process ends anyway."""
        if self.lock.acquire(timeout=PATIENCE):
            while self.loaded:
                self.loaded.popitem()[1].close()
            self.lock.release()

    def _work(self) -> None:
        while True:
            question = self.line.get()
            for name in ("tuned", "base"):  # the tuned model's answer is what is waited for
                self._answer(question, question.sides[name])

    def _answer(self, question: Question, side: Side) -> None:
        started = time.perf_counter()
        try:
            with self.lock:
                self._fill(question, side)
            side.state = "done"
        except UserError as error:
            side.problem, side.state = redact_text(str(error)), "failed"
        except Exception as error:  # an engine may fail in any way, and the next question wants a worker
            traceback.print_exc()
            side.problem, side.state = redact_text(f"the engine failed: {with_type(error)}"), "failed"
        finally:
            side.seconds = round(time.perf_counter() - started, 1)

    def _fill(self, question: Question, side: Side) -> None:
        side.state = "loading"
        spec = spec_of(question.run, side.name)
        prepared = prepared_for(spec, self.engine, question.messages, self.max_tokens)
        generator = self._generator(spec)
        side.state = "answering"
        (completion,) = generator.generate(prepared.requests, prepared.sampling)
        said = prediction_of(completion, question.plain)
        side.tokens, side.completion = completion.tokens, said.completion
        side.reasoning, side.answer, side.problem = said.reasoning, said.answer, said.problem

    def _generator(self, spec: ModelSpec) -> Generator:
        """The engine of a model: kept from a question before, unless its weights were written anew."""
        folders: list[Path] = [each for each in (spec.path, spec.adapter) if each is not None]
        key = (spec, stamp(folders, ("*.safetensors",)))
        if key not in self.loaded:
            while len(self.loaded) >= LOADED:
                self.loaded.popitem(last=False)[1].close()
            self.loaded[key] = load_engine(self.engine, spec, self.options)
        self.loaded.move_to_end(key)
        return self.loaded[key]


def spec_of(run: Run, side: str) -> ModelSpec:
    """The model of a side; before the run has merged it, what the newest finished stage left. Raises UserError."""
    from toolkit.training.backends import trained_dir

    if side == "base" or run.is_done("merge"):
        spec: ModelSpec = model_of(run, side)
        return spec
    for stage in ("grpo", "sft"):
        if run.is_done(stage):
            resolved = resolve_model(str(trained_dir(run.dir / stage, run.recipe.model.tuning)))
            return ModelSpec(resolved.path, resolved.adapter, side)
    raise UserError("no stage has trained a model yet; the base answers alone until one has")


def moment_from(when: Mapping[str, str]) -> datetime:
    """The moment that the page's fields state; now, or midnight, for what they leave out. Raises UserError."""
    date, hour, offset = (when.get(name, "").strip() for name in FIELDS)
    return moment_of(f"{date or datetime.now().date()}T{hour or '00:00'}{offset}", "date, time and offset")


def fields_of(reference: str | None) -> tuple[str, ...]:
    """Which of date, time and offset a task's prompt states. Raises UserError when it can't ask at all.

    Looking at a page runs no code that a run names, asking may: of a task in a Python file all three are taken, and
    one in YAML states none.
    """
    if reference is None or reference.endswith((".yaml", ".yml")):
        return ()
    return FIELDS if reference.endswith(".py") else moment_fields(load_task(reference))
