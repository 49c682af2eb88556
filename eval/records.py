"""The record of one scored completion, and the file that holds them: DIR/records.jsonl.

Records are flushed as they come, so that a killed evaluation loses no finished answer. A torn last line is dropped.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from eval.engines.base import Completion, FinishReason
from eval.files import write_atomically
from eval.redaction import redact_text
from rewards.core import Example, Reward, UserError
from rewards.response import parse, says_nothing
from tasks.base import Task
from tasks.contract import BrokenReward, score_of

Status = Literal["right", "wrong", "no_answer", "wrong_format", "truncated", "error"]
STATUSES: tuple[Status, ...] = get_args(Status)
RECORDS = "records.jsonl"


@dataclass(frozen=True, slots=True)
class Record:
    """One completion of one example, scored. One line of records.jsonl.

    sample: index among the samples of the example. status: "right" is a score of 1; then "wrong" keeps the format,
    "wrong_format" breaks it, "no_answer" breaks it by saying nothing outside the reasoning; "truncated" was cut at
    max_tokens; "error" was never given. gold: the canonical answer. score: the task's metric, in [0, 1].
    answer: what `rewards.response.parse` read, or None. problem: what is wrong with the format, or, for status
    "error", the engine's reason without secrets. tokens: generated ones, the end token included.
    """

    id: str
    sample: int
    status: Status
    score: float
    gold: str
    answer: str | None
    problem: str | None
    completion: str
    finish_reason: FinishReason
    tokens: int
    rewards: Mapping[str, float]
    group: str
    prompt_hash: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def well_formed(self) -> bool:
        """Whether the completion ended by itself and keeps the response's form; its answer may be wrong."""
        return self.finish_reason == "stop" and self.problem is None


_NAMES = tuple(each.name for each in fields(Record))


def score(task: Task, example: Example, completion: Completion, prompt_hash: str) -> Record:
    """Score a completion with the task's metric and its rewards, the same functions that train.

    A completion that was cut, or that the engine failed to give, scores 0 everywhere and isn't parsed: the last words
    of an unfinished thought are no answer. Raises UserError when a function breaks the contract of
    `rewards.core.Reward`.
    """
    text = completion.text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair fits no file
    answer, problem, value = None, None, 0.0
    rewards = dict.fromkeys(task.rewards, 0.0)
    status: Status
    if completion.finish_reason == "error":
        status, problem = "error", redact_text(text)  # a server may repeat what it was sent, headers too
    elif completion.finish_reason == "length":
        status = "truncated"
    else:
        response = parse(text)
        problem = response.problem
        answer = None if problem else response.answer
        value = _call("metric", task.metric, text, example)
        rewards = {  # the metric is often one of them, and what it says is known by now
            name: value if reward is task.metric else _call(name, reward, text, example)
            for name, (reward, _) in task.rewards.items()
        }
        status = "right" if value == 1 else "wrong" if problem is None else _failing(text)
    return Record(
        id=example.id,
        sample=completion.index,
        status=status,
        score=value,
        gold=example.answers[0],
        answer=answer,
        problem=problem,
        completion="" if status == "error" else text,
        finish_reason=completion.finish_reason,
        tokens=completion.tokens,
        rewards=rewards,
        group=example.group,
        prompt_hash=prompt_hash,
        tags=dict(example.tags),
    )


def score_again(task: Task, example: Example, record: Record) -> Record:
    """A record's completion as the task scores it now."""
    text = record.problem or "" if record.status == "error" else record.completion
    completion = Completion(record.id, record.sample, text, record.finish_reason, record.tokens)
    return score(task, example, completion, record.prompt_hash)


def _failing(completion: str) -> Status:
    """What a completion that breaks the format is counted as: did it try to answer at all?"""
    return "no_answer" if says_nothing(completion) else "wrong_format"


def _call(name: str, reward: Reward, completion: str, example: Example) -> float:
    """One reward of one completion. Raises UserError that names both when it breaks its contract."""
    try:
        return score_of(reward, completion, example)
    except BrokenReward as broken:
        raise UserError(
            f"reward {name!r} {broken}, on example {example.id!r}, completion {completion[:80]!r}; "
            "a reward must take any text and give a number within [0, 1]"
        ) from broken


def read_records(path: Path) -> list[Record]:
    """The records of a file, without a torn last line; none where there is no file.

    Raises UserError that names the line when any other line isn't a record.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    records = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline was never finished
        try:
            row: dict[str, Any] = json.loads(line)
            if set(row) != set(_NAMES):
                raise ValueError(f"keys {sorted(set(row) ^ set(_NAMES))}")
            if not isinstance(row["tokens"], int):  # of a server that didn't count them, in older files
                raise ValueError(f"tokens {row['tokens']!r}")
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}:{number}: not a record ({error}); evaluate into an empty directory") from error
        records.append(Record(**row))
    return records


def by_example(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Each example's records, both in the order in which they come."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[record.id].append(record)
    return dict(found)


def to_line(record: Record) -> str:
    """One line of JSON, newline included."""
    # Not asdict: it copies every value, which takes longer than all the rest of scoring.
    return json.dumps({name: getattr(record, name) for name in _NAMES}, ensure_ascii=False) + "\n"


def keep_complete(path: Path, n: int) -> list[Record]:
    """Reduce a file to the examples with all n samples, none of them an error; give their records.

    What is dropped will be asked again: samples of an interrupted example, and failures of an engine.
    """
    complete = [
        record
        for records in by_example(read_records(path)).values()
        if sorted(record.sample for record in records) == list(range(n))
        and all(record.status != "error" for record in records)
        for record in records
    ]
    write_records(path, complete)
    return complete


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Replace the file."""
    write_atomically(path, "".join(map(to_line, records)))
