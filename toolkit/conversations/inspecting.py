"""What the model will really see: `toolkit data inspect`. Without a model, what became of every row."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from eval.prompts import decode, stop_token_ids, template_hash
from eval.shown import percent
from rewards.core import UserError
from rewards.response import TAGS
from tasks.tables.rows import Bad
from toolkit.config import ConversationsConfig, ModelConfig, Recipe, apply_overrides, check_recipe, load_recipe
from toolkit.conversations.marks import THOUGHTS
from toolkit.conversations.preparing import facts_of, open_quarantine, prepare, tokenizer_for, write_bad
from toolkit.conversations.reading import source_of, to_conversation
from toolkit.conversations.rendering import Rendered, Renderer
from toolkit.conversations.report import Tally, too_many_bad
from toolkit.conversations.work import Worker
from toolkit.models import resolve_model
from toolkit.parallel import in_chunks
from toolkit.training.rows import IGNORED

LOOKED_AT = 200  # training rows that are searched for reasoning which the template drops
SHOWN = 3  # conversations that are shown token by token


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its text, and whether the loss counts it."""

    id: int
    text: str
    supervised: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found. problems are errors; notes are worth a look. samples: (title, tokens) of some conversations.
    max_length: the model's, in tokens; 0 without a model.
    """

    report: dict[str, Any]
    template: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    samples: tuple[tuple[str, tuple[Token, ...]], ...] = ()
    max_length: int = 0


def config_of(target: str, overrides: list[str], model: str | None) -> tuple[ConversationsConfig, ModelConfig | None]:
    """The data section and the model of a recipe, or of a file by itself. Overrides are those of a recipe.

    Raises UserError for a recipe whose data come from a task.
    """
    if target.endswith((".yaml", ".yml")):
        recipe = load_recipe(Path(target), overrides)
    else:
        recipe = _recipe_of(target, overrides, model)
        if model is None:
            return _file_data(recipe, target), None
    chosen = recipe.model if model is None else recipe.model.model_copy(update={"reference": model})
    return _file_data(recipe, target), chosen


def _recipe_of(path: str, overrides: list[str], model: str | None) -> Recipe:
    raw: dict[str, Any] = {"output": "unused", "model": {"reference": model or "none"}, "data": {"path": path}}
    return check_recipe(apply_overrides(raw, overrides), path)


def _file_data(recipe: Recipe, target: str) -> ConversationsConfig:
    if not isinstance(recipe.data, ConversationsConfig):
        raise UserError(f"{target}: its data come from the task {recipe.task!r}; `toolkit task check` inspects those")
    return recipe.data


def inspect(config: ConversationsConfig, model: ModelConfig | None, quarantine: Path | None = None) -> Inspection:
    """Read and count every row; with a model, render and tokenize them too. Too many bad rows are a problem found.

    Raises UserError as `prepare` does for all else.
    """
    counted = config.model_copy(update={"too_long": "drop", "max_bad_share": 1.0})
    if model is None:
        report = count(counted, quarantine)
        return Inspection(report, problems=tuple(_bad_rows(report, config)))
    resolved, template = resolve_model(model.reference), model.chat_template
    report = prepare(counted, resolved.path, template, model.max_length, quarantine, resolved.adapter).report
    tokenizer = tokenizer_for(resolved.adapter or resolved.path, template)
    rows = first_rows(config, Renderer(tokenizer, stop_token_ids(tokenizer, resolved.path)), LOOKED_AT)
    name = model.chat_template or "the tokenizer's own"
    return Inspection(
        report,
        f"{name}, hash {template_hash(tokenizer)}",
        (*_bad_rows(report, config), *_problems(report, config, model)),
        tuple(_notes(rows, tokenizer)),
        tuple(_sample(each) for each in rows[:SHOWN]),
        model.max_length,
    )


def count(config: ConversationsConfig, quarantine: Path | None) -> dict[str, Any]:
    """The report of a file without a model. quarantine: where to write the bad rows."""
    source = source_of(config)
    worker = Worker(config.columns.names(), None, 0, 0, True)
    tally = Tally(source.name, config.max_bad_share)
    with open_quarantine(quarantine or Path(os.devnull)) as bad:
        for chunk in in_chunks(source.rows(), worker):
            write_bad(bad, chunk.bad)
            tally.add(chunk.counts, chunk.bad, chunk.twins, chunk.near)
    tally.check()
    return {**tally.to_json(), **facts_of(source)}


def first_rows(config: ConversationsConfig, renderer: Renderer, count: int) -> list[Rendered]:
    """The first `count` training rows of a source, or all where it has fewer, with text and offsets."""
    shapes: dict[Any, Any] = {}
    columns = config.columns.names()
    read = (row if isinstance(row, Bad) else to_conversation(row, columns, shapes) for row in source_of(config).rows())
    good = (each for each in read if not isinstance(each, Bad))
    made = (row for each in good for row in renderer.rows([each], offsets=True))
    return list(islice((row for row in made if isinstance(row, Rendered)), count))


def _bad_rows(report: dict[str, Any], config: ConversationsConfig) -> list[str]:
    problem = too_many_bad(report, config.max_bad_share)
    return [] if problem is None else [problem]


def _problems(report: dict[str, Any], config: ConversationsConfig, model: ModelConfig) -> list[str]:
    problems = []
    total = report["sequences"] + report["too_long"]
    if report["too_long"] and config.too_long == "error":
        problems.append(
            f"{report['too_long']} of {total} sequences ({percent(report['too_long'] / total)}) are longer than "
            f"model.max_length ({model.max_length}); raise it, or acknowledge the loss: --set data.too_long=drop"
        )
    share = report["supervised"] / report["tokens"]
    if share in (0, 1):
        problems.append(
            f"{percent(share, 0)} of the tokens are supervised; the template marks no border between the turns"
        )
    return problems


def _notes(rows: list[Rendered], tokenizer: Any) -> list[str]:
    notes = []
    said = [(row, turn["content"]) for row in rows for turn in row.source.messages if turn["role"] == "assistant"]
    for mark in (*THOUGHTS, *TAGS):
        with_mark = {id(row): row for row, content in said if mark in content}
        lost = [row for row in with_mark.values() if mark not in row.text]
        if lost:
            notes.append(f"{mark} of an answer is gone after rendering, first in {_place(lost[0])}")
        if with_mark and mark not in decode(tokenizer, tokenizer.encode(mark, add_special_tokens=False), ()):
            notes.append(f"{mark} is a special token: decoding drops it, and no reward will see it")
    split = len(rows) - len({_place(row) for row in rows})
    if split:
        notes.append("the template rewrites earlier turns, so a conversation becomes a sequence for each answer")
    return notes


def _sample(row: Rendered) -> tuple[str, tuple[Token, ...]]:
    ids, labels = row.row["input_ids"], row.row["labels"]
    tokens = []
    place = 0
    for token, label, (start, end) in zip(ids, labels, row.offsets, strict=True):
        # The letters between two offsets belong to the later token; a letter of several tokens, to its first.
        text = row.text[place : max(place, end)] if end > start else ""
        place = max(place, end)
        tokens.append(Token(token, text, label != IGNORED))
    return _place(row), tuple(tokens)


def _place(row: Rendered) -> str:
    return f"{row.source.file}, row {row.source.row}"
