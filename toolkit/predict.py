"""One question to a model, through the prompt that its task trains with."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from eval.engines.base import Completion, ModelSpec, Sampling
from eval.engines.registry import load_engine
from eval.runner import Prepared, prepare
from eval.trained import TRAINED_FOR, trained_task
from rewards.core import Example, ExitCode, Message, UserError, with_type
from rewards.response import parse
from tasks.base import Ask, Task
from tasks.registry import load_task
from toolkit.models import cache_dir, resolve_model
from toolkit.quiet import output_to

FIELDS = ("date", "time", "offset")  # that a task's prompt may state
_MOMENT = datetime(2025, 1, 17, 10, 30, tzinfo=timezone(timedelta(hours=3)))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model said: its whole completion, and the two parts where the format holds.

    A model of conversations has no format to keep: its answer is the whole completion.
    """

    completion: str
    reasoning: str | None
    answer: str | None
    problem: str | None


def predict_one(text: str, model: str, now: str | None, task: str | None, max_tokens: int) -> Prediction:
    """Ask `model` for the answer to `text` at the moment `now` (ISO). Raises UserError for bad input."""
    moment = None if now is None else moment_of(now, "--now")
    if not text.strip():
        raise UserError('the text is empty; give what the person said, for instance "Послезавтра в 12"')
    spec, chosen = model_and_task(model, task)
    messages = asked(chosen, text, moment)
    with output_to(cache_dir() / "predict.log"):
        prepared = prepared_for(spec, "transformers", messages, max_tokens)
        with closing(load_engine("transformers", spec, {})) as generator:
            (completion,) = generator.generate(prepared.requests, prepared.sampling)
    return prediction_of(completion, plain=chosen is None)


def prepared_for(spec: ModelSpec, engine: str, messages: tuple[Message, ...], max_tokens: int) -> Prepared:
    """One conversation, ready for the engine: rendered with the model's template, its end tokens known."""
    # whatever the model was trained on: a person asks the base as well, under the recipe's template
    return prepare([Example("0", messages, ("",))], spec, engine, Sampling(max_tokens=max_tokens), any_template=True)


def moment_of(now: str, where: str) -> datetime:
    """The moment that an ISO text states. Raises UserError that begins with `where`."""
    try:
        return datetime.fromisoformat(now.strip())
    except ValueError as error:
        raise UserError(f"{where} {now!r}: not an ISO date or time; write 2025-01-17 or 2025-01-17T10:30") from error


def model_and_task(model: str, task: str | None) -> tuple[ModelSpec, Task | None]:
    """What to ask, and through whose prompt: the task given, else what the model was trained on, a task or (None)
    conversations.
    """
    resolved = resolve_model(model)
    name = task or _trained_for(resolved.adapter or resolved.path)
    chosen = None if name is None else load_task(name)
    return ModelSpec(resolved.path, resolved.adapter, model), chosen


def asked(task: Task | None, text: str, now: datetime | None) -> tuple[Message, ...]:
    """The prompt for a stranger's text: the task's own; without a task, the text as the user's turn.

    Raises UserError for a task that can't ask one, or not this one, and for one that states the moment where `now` is
    None.
    """
    if task is None:
        return ({"role": "user", "content": text},)
    check_asked(task, text, now)
    try:
        return ask_of(task)(text, now or _MOMENT)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a stranger's function
        raise UserError(f"task {task.name!r} can't ask {text[:80]!r}: {with_type(error)}") from error


def check_asked(task: Task, text: str, now: datetime | None) -> None:
    """Raise UserError for a task that can't ask free questions, and for one that states the moment where `now` is None.

    text: what is asked, or a sample of it. A task may take some texts only; of one that it doesn't take, nothing is
    known of the moment.
    """
    ask = ask_of(task)
    if now is not None:
        return
    stated: tuple[str, ...] = ()
    with suppress(Exception, SystemExit):
        stated = _stated(ask, text)
    if stated:
        raise UserError(
            f"the prompt of task {task.name!r} states the moment; give --now, such as --now 2025-01-17T10:30"
        )


def ask_of(task: Task) -> Ask:
    """What builds the task's prompt for a stranger's text. Raises UserError where nothing does."""
    if task.ask is None:
        raise UserError(
            f"task {task.name!r} can't ask a free question (it has no `ask`: in a YAML task, one {{column}} in the "
            "prompt); `toolkit serve` takes whole prompts"
        )
    return task.ask


def moment_fields(task: Task) -> tuple[str, ...]:
    """Which of date, time and offset the task's prompt states. All, where it fails: it may take some texts only.

    Raises UserError when it can't ask at all.
    """
    ask = ask_of(task)
    try:
        return _stated(ask, "?")
    except (Exception, SystemExit):  # a stranger's function
        return FIELDS


def _stated(ask: Ask, text: str) -> tuple[str, ...]:
    """Raises whatever the task does."""
    zone = timezone(timedelta(hours=5))
    others = (_MOMENT.replace(month=3), _MOMENT.replace(hour=11), _MOMENT.replace(tzinfo=zone))
    return tuple(name for name, at in zip(FIELDS, others, strict=True) if ask(text, at) != ask(text, _MOMENT))


def prediction_of(completion: Completion, plain: bool) -> Prediction:
    """Read a completion. One that was cut isn't parsed: the last words of an unfinished thought are no answer.

    plain: of a model of conversations, which keeps no form.
    """
    if completion.finish_reason == "error":
        return Prediction("", None, None, completion.text)
    if completion.finish_reason == "length":
        return Prediction(completion.text, None, None, f"cut after {completion.tokens} tokens (--max-tokens)")
    if plain:
        return Prediction(completion.text, None, completion.text, None)
    response = parse(completion.text)
    if response.problem:
        return Prediction(completion.text, None, None, response.problem)
    return Prediction(completion.text, response.reasoning, response.answer, None)


def print_prediction(prediction: Prediction, as_json: bool) -> None:
    """Print it. Raises UserError, exit code 1, when the completion isn't a well-formed response."""
    if as_json:
        parts = {"reasoning": prediction.reasoning, "answer": prediction.answer, "problem": prediction.problem}
        print(json.dumps({**parts, "completion": prediction.completion}, ensure_ascii=False))
    elif prediction.problem is None:
        reasoning = "" if prediction.reasoning is None else f"reasoning: {prediction.reasoning}\n"
        print(f"{reasoning}answer: {prediction.answer}")
    else:
        print(f"completion: {prediction.completion}")
    if prediction.problem is not None:
        raise UserError(f"the model gave no well-formed response: {prediction.problem}", ExitCode.FAULTS)


def _trained_for(directory: Path) -> str | None:
    if not (directory / TRAINED_FOR).is_file():
        raise UserError(f"{directory} doesn't say which task it was trained on; give --task")
    return trained_task(directory, "give --task")
