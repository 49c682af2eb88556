"""The preflight's checks of token ids: one template for all who render it, tags that survive, lengths that fit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.prompts import decode, load_tokenizer, render_prompt, render_prompts, stop_token_ids
from rewards.core import Example, Message, UserError
from rewards.response import TAGS, parse
from tasks.tables.rows import Bad
from toolkit.config import ConversationsConfig
from toolkit.conversations.inspecting import first_rows
from toolkit.conversations.preparing import tokenizer_for
from toolkit.conversations.reading import Conversation
from toolkit.conversations.rendering import Rendered, Renderer
from toolkit.data import sample_examples
from toolkit.doctor.findings import Finding, fine
from toolkit.models import context_of, resolve_model
from toolkit.rundir import Run
from toolkit.templates import use_template
from toolkit.training.backends import start_of
from toolkit.training.preflight_messages import found
from toolkit.training.rows import IGNORED, Row, chat_of

SAMPLE = 64  # examples that each check looks at

Renders = Callable[[Sequence[Message]], list[int]]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the checks look at.

    model_dir: of the base. tokenizer: training's. others: who else renders prompts, and how. stops: end tokens.
    context: tokens that the model takes, None if unsaid. rows: training rows with their conversations. broken: what
    couldn't become one: (example, reason). prompts: the examples that will be asked, by file (the stage's, test).
    """

    run: Run
    stage: str
    model_dir: Path
    tokenizer: Any
    others: Mapping[str, Renders]
    stops: tuple[int, ...]
    context: int | None
    rows: Sequence[Rendered]
    broken: Sequence[tuple[str, str]]
    prompts: Mapping[str, Sequence[Example]]


def take_sample(run: Run, stage: str) -> Sample:
    """Render and tokenize a sample of the stage's data, from the tokenizer that the stage begins with."""
    recipe = run.recipe
    base = resolve_model(recipe.model.reference)
    first = start_of(recipe, run.dir, stage, base)
    start = first.adapter or first.path
    if not start.is_dir():  # a preflight by itself may come before the SFT
        start = base.adapter or base.path
    template = recipe.model.chat_template
    tokenizer = tokenizer_for(start, template)
    prompts: dict[str, Sequence[Example]] = {}
    rows: Sequence[Rendered] = ()
    broken: list[tuple[str, str]] = []
    stops: tuple[int, ...] = ()
    others: Mapping[str, Renders] = {}
    try:
        stops = stop_token_ids(tokenizer, base.path)
        others = _others(start, base.path, template)
        if recipe.task is not None:
            prompts = {name: sample_examples(run.dir / "data" / f"{name}.jsonl", SAMPLE) for name in (stage, "test")}
        rows, refused = _rendered(run, stage, Renderer(tokenizer, stops), prompts)
        broken += refused
    except UserError as error:  # no template, a refused role, two BOS: said of the whole
        broken.append(("the template", str(error)))
    return Sample(run, stage, base.path, tokenizer, others, stops, context_of(base.path), rows, broken, prompts)


def _rendered(
    run: Run, stage: str, renderer: Renderer, prompts: Mapping[str, Sequence[Example]]
) -> tuple[list[Rendered], list[tuple[str, str]]]:
    recipe = run.recipe
    if isinstance(recipe.data, ConversationsConfig):
        return first_rows(recipe.data, renderer, SAMPLE), []
    direct = recipe.sft is not None and recipe.sft.direct
    chats = [Conversation(each.id, place, chat_of(each, direct)) for place, each in enumerate(prompts[stage])]
    made = renderer.rows(chats, offsets=True)
    rows = [each for each in made if isinstance(each, Rendered)]
    return rows, [(each.file, each.reason) for each in made if isinstance(each, Bad)]


def _others(start: Path, base: Path, template: str | None) -> dict[str, Renders]:
    """Everybody who renders a prompt beside training's rows: TRL's trainer, evaluations, the server."""
    from transformers import AutoTokenizer

    trainer = AutoTokenizer.from_pretrained(str(start))
    use_template(trainer, template)
    with tempfile.TemporaryDirectory() as folder:
        trainer.save_pretrained(folder)
        saved: Any = load_tokenizer(folder)

    def served(messages: Sequence[Message]) -> list[int]:
        text = saved.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        ids: list[int] = saved(text, add_special_tokens=False)["input_ids"]
        return ids

    others: dict[str, Renders] = {}
    if start != base:  # else training's tokenizer is the very same
        evaluation = tokenizer_for(base, template)
        others["the evaluation of the base"] = lambda messages: render_prompt(evaluation, messages)
    return others | {
        "the trainer": lambda messages: render_prompt(trainer, messages),
        "the evaluation of the saved model": lambda messages: render_prompt(saved, messages),
        "the server": served,
    }


def check_template(sample: Sample) -> Iterator[Finding]:
    """Training's ids of a prompt are everybody's, they begin its row, and the row ends with a learned end token."""
    if sample.broken:
        where, reason = sample.broken[0]
        yield found("template", "template-broken", where=where, reason=reason)
    if "strftime_now" in str(sample.tokenizer.chat_template):
        yield found("template", "template-dated")
    unended = [row.row for row in sample.rows if not _ended(row.row, sample.stops)]
    if unended:
        values = {"count": len(unended), "n": len(sample.rows), "stops": list(sample.stops)}
        yield found("template", "end-unlabelled", **values)
    problem = next((each for row in sample.rows for each in _row_problems(row, sample)), None)
    if problem is not None:
        yield problem
    elif sample.rows and not unended:
        who = ", ".join(name.removeprefix("the ") for name in sample.others)
        yield fine("template", f"{len(sample.rows)} prompts have the same ids in training and for {who}; each row ends")


def _ended(row: Row, stops: Iterable[int]) -> bool:
    labelled = [label for label in row["labels"] if label != IGNORED]
    return bool(labelled) and labelled[-1] in set(stops)


def _row_problems(rendered: Rendered, sample: Sample) -> Iterator[Finding]:
    source, ids, labels = rendered.source, list(rendered.row["input_ids"]), rendered.row["labels"]
    name = source.file if sample.run.recipe.task is not None else f"{source.file}, row {source.row}"
    turns = [at for at, turn in enumerate(source.messages) if turn["role"] == "assistant"]
    first = next((at for at, label in enumerate(labels) if label != IGNORED), len(ids))
    try:
        asked = {at: render_prompt(sample.tokenizer, source.messages[:at]) for at in turns}
        if ids[:first] not in asked.values():
            reason = "the prompt alone takes other ids than at the beginning of its training row"
            yield found("template", "template-broken", where=name, reason=reason)
        for other, renders in sample.others.items():
            for at, ours in asked.items():
                if (theirs := renders(source.messages[:at])) != ours:
                    yield found("template", "template-differs", other=other, example=name, **_parting(ours, theirs))
    except UserError as error:
        yield found("template", "template-broken", where=name, reason=str(error))


def _parting(ours: Sequence[int], theirs: Sequence[int]) -> dict[str, Any]:
    """Where two sequences differ first, and what each has there."""
    place = next((at for at, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), None)
    place = min(len(ours), len(theirs)) if place is None else place
    there = [ids[place] if place < len(ids) else "the end" for ids in (ours, theirs)]
    return {"place": place, "ours": there[0], "theirs": there[1]}


def check_tags(sample: Sample) -> Iterator[Finding]:
    """The format's tags come back from their ids, and so does each gold response. Nothing to ask without a task."""
    if sample.run.recipe.task is None:
        return
    tokenizer, lost = sample.tokenizer, False
    for tag in TAGS:
        back = decode(tokenizer, tokenizer.encode(tag, add_special_tokens=False), ())
        if tag not in back:
            lost = True
            yield found("tags", "tag-special", tag=tag, decoded=repr(back))
    if lost:
        return
    for row in sample.rows:
        said = [label for label in row.row["labels"] if label != IGNORED]
        back = decode(tokenizer, said, sample.stops)
        if parse(back) != parse(row.source.messages[-1]["content"]):
            yield found("tags", "response-changed", example=row.source.file, decoded=repr(back[:200]))
            return
    yield fine("tags", f"{len(TAGS)} tags and {len(sample.rows)} gold responses survive decoding")


def check_lengths(sample: Sample) -> Iterator[Finding]:
    """Prompt and completion within what trains, generates and evaluates: the longest of the sample decides."""
    if not sample.rows:
        return
    recipe, context = sample.run.recipe, sample.context
    limits = {"model.max_length": recipe.model.max_length} | (
        {} if context is None else {"the model's context": context}
    )
    limit_name = min(limits, key=lambda name: limits[name])
    limit, told = limits[limit_name], []
    if sample.stage == "sft":
        longest = max(sample.rows, key=lambda row: len(row.row["input_ids"]))
        tokens = len(longest.row["input_ids"])
        told.append(f"prompt and completion at most {tokens} of {limit}")
        if tokens > limit and (recipe.task is not None or limit_name != "model.max_length"):  # else the data stage says
            values = {"example": longest.source.file, "tokens": tokens, "limit_name": limit_name, "limit": limit}
            yield found("lengths", "too-long-completion", **values)
    if sample.stage == "grpo" and recipe.grpo is not None:
        new = recipe.grpo.max_completion_length
        example, tokens = _longest(sample, "grpo")
        told.append(f"rollouts at most {tokens} + {new} of {limit}")
        if tokens + new > limit:
            values = {"example": example, "tokens": tokens, "new": new, "limit_name": limit_name, "limit": limit}
            yield found("lengths", "too-long-rollout", **values)
        yield from _gold(sample, "grpo.max_completion_length", new)
    if recipe.task is not None and recipe.eval.engine != "scripted":
        yield from _answers(sample, told)
    yield fine("lengths", "; ".join(told))


def _answers(sample: Sample, told: list[str]) -> Iterator[Finding]:
    config = sample.run.recipe.eval
    given = config.options.get("max_model_len")
    limit, limit_name = (given, "eval.options.max_model_len") if given else (sample.context, "the model's context")
    example, tokens = _longest(sample, "test")
    told.append(f"answers at most {tokens} + {config.max_tokens} of {limit or 'unknown'}")
    if limit is not None and tokens + config.max_tokens > limit:
        values = {"example": example, "tokens": tokens, "new": config.max_tokens}
        yield found("lengths", "too-long-answer", limit_name=limit_name, limit=limit, **values)
    yield from _gold(sample, "eval.max_tokens", config.max_tokens)


def _longest(sample: Sample, name: str) -> tuple[str, int]:
    """(id, tokens) of the longest prompt."""
    examples = sample.prompts[name]
    lengths = map(len, render_prompts(sample.tokenizer, [each.messages for each in examples]))
    return max(((each.id, length) for each, length in zip(examples, lengths, strict=True)), key=lambda found: found[1])


def _gold(sample: Sample, key: str, limit: int) -> Iterator[Finding]:
    counts = {row.source.file: sum(label != IGNORED for label in row.row["labels"]) for row in sample.rows}
    longest = max(counts, key=lambda name: counts[name])
    if counts[longest] > limit:
        yield found("lengths", "gold-cut", example=longest, tokens=counts[longest], key=key, limit=limit)
