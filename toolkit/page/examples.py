"""The examples that the page's browser shows: prompts, gold, and every model's completions side by side."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from eval.records import STATUSES, Record, by_example
from rewards.core import Example, UserError
from tasks.registry import load_task, task_names
from toolkit.data import read_examples
from toolkit.page.sources import Evaluation, Sources, same_examples

BUDGET = 24_000_000  # characters of JSON on a page: a browser opens that in about a second
LONGEST = 20_000  # characters of one text


@dataclass(frozen=True, slots=True)
class Browser:
    """What the script on the page gets, and what it lacks, in words. data is {} where there is nothing to browse."""

    data: Mapping[str, Any]
    notices: tuple[str, ...] = ()


def browser(sources: Sources, left: int, right: int, budget: int = BUDGET) -> Browser:
    """The examples of evaluation `left` and the completions of all that answered the same ones.

    Where they are too many for the page, those on which models differ come first. Sides are places in
    `sources.evaluations`.
    """
    if not sources.evaluations:
        return Browser({})
    chosen = sources.evaluations[left]
    same = [i for i, each in enumerate(sources.evaluations) if same_examples(each, chosen)]
    others = [each.label for each in sources.evaluations if not same_examples(each, chosen)]
    prompts, missing = _prompts(sources, chosen)
    sides = [by_example(sources.evaluations[i].records) for i in same]
    items = [_item(example_id, prompts.get(example_id), sides) for example_id in sides[same.index(left)]]
    kept, dropped = _within(items, budget)
    notices = [f"{label} answered other examples, so it isn't in this list." for label in others] + missing
    if dropped:
        notices.append(
            f"{len(kept)} of {len(items)} examples are on this page, to keep it small; those on which the models "
            "differ come first. The records.jsonl of each evaluation holds them all."
        )
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for item in kept:
        for tag, value in item["tags"].items():
            values[tag][value] += 1
    data = {
        "models": [{"label": sources.evaluations[i].label, "colour": i} for i in same],
        "left": same.index(left),
        "right": same.index(right) if right in same else same.index(left),
        "statuses": list(STATUSES),
        "tags": {tag: sorted(counts.items()) for tag, counts in sorted(values.items())},
        "items": kept,
    }
    return Browser(data, tuple(notices))


def _item(example_id: str, example: Example | None, sides: Sequence[Mapping[str, Sequence[Record]]]) -> dict[str, Any]:
    first = next(side[example_id][0] for side in sides if side.get(example_id))
    return {
        "id": example_id,
        "tags": {tag: str(value) for tag, value in first.tags.items()},
        "gold": first.gold,
        "prompt": None if example is None else [[turn["role"], cut(turn["content"])] for turn in example.messages],
        "by": [_answers(side.get(example_id, ())) for side in sides],
    }


def _answers(records: Sequence[Record]) -> dict[str, Any] | None:
    if not records:
        return None
    said = [[each.status, each.tokens, cut(each.completion), each.answer, each.problem] for each in records]
    return {"score": round(fmean(each.score for each in records), 4), "said": said}


def cut(text: str) -> str:
    """The text, or its beginning and how much more there was."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… ({len(text) - LONGEST} more characters are left out of this page)"


def _within(items: Sequence[dict[str, Any]], budget: int) -> tuple[list[dict[str, Any]], int]:
    """As many items as the budget holds, in their order, and how many it doesn't."""
    differing = sorted(range(len(items)), key=lambda i: len({_score(side) for side in items[i]["by"]}) < 2)
    kept = []
    for i in differing:
        budget -= len(json.dumps(items[i], ensure_ascii=False))
        if budget < 0:
            break
        kept.append(i)
    return [items[i] for i in sorted(kept)], len(items) - len(kept)


def _score(side: Mapping[str, Any] | None) -> float | None:
    return None if side is None else side["score"]


def _prompts(sources: Sources, chosen: Evaluation) -> tuple[dict[str, Example], list[str]]:
    """Examples by id, from a run that evaluated them or from the task made anew; why there are none."""
    for each in sources.evaluations:
        if each.run is not None and same_examples(each, chosen):
            path = sources.runs[each.run].dir / "data" / "test.jsonl"
            if path.is_file():
                return {example.id: example for example in read_examples(path)}, []
    name, split = chosen.identity["task"], chosen.identity["split"]
    missing: tuple[dict[str, Example], list[str]] = (
        {},
        [f"The prompts aren't shown: records don't hold them, and {name!r} is no installed task."],
    )
    if name not in dict(task_names()):  # nor a file's name: a page executes nothing that a directory brought along
        return missing
    try:
        task = load_task(name)
    except UserError:
        return missing
    made = {each.id: each for each in task.examples(split, int(chosen.identity["n"]), int(chosen.identity["seed"]))}
    fits = all(record.id in made and made[record.id].answers[0] == record.gold for record in chosen.records)
    if not fits or task.version != chosen.identity["task_version"]:
        return {}, [f"The prompts aren't shown: the installed {name!r} makes other examples than these."]
    return made, []
