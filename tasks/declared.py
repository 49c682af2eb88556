"""A task in YAML over a table: a prompt with {columns} in it, an answer column, rewards by reference.

name: orders
data: orders.csv                  # beside the YAML file; any format of tasks.tables
system: "Reply with JSON."        # optional
user: "{text}"
answer: gold                      # a column, or a list of columns that are all accepted
reasoning: steps                  # optional column
group: template                   # optional column: its rows stay in one split
tags: [lang]                      # optional columns
split: part                       # optional column of train | validation | test; else by shares:
shares: {validation: 0.1, test: 0.2}
rewards:
  rewards.formats:tag_format: 0.1
  rewards.numbers:number: {weight: 1, tolerance: 0.01}
metric: rewards.numbers:number    # one of the rewards, or another reference
"""

from __future__ import annotations

import hashlib
import importlib
import math
import random
import string
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rewards.core import Example, Message, Reward, UserError
from tasks.base import SPLITS, Ask, Split, Task
from tasks.tables.encodings import unreadable
from tasks.tables.rows import Bad, BadValue, Row, not_finite, text_of
from tasks.tables.source import Source, open_source
from tasks.yaml_files import read_yaml

LEAST_SHARE = 1e-6  # less is what adding shares up leaves of 0
OFF = 1.5  # times the share that a split of groups may be larger or smaller: of single prompts that is chance
SHARES = {"validation": 0.1, "test": 0.2}
NEEDED = ("name", "data", "user", "answer", "rewards", "metric")
KEYS = {  # with what each means, for the schema that editors read
    "name": "the task's name, in tables and in the identity of evaluations",
    "data": "a table beside this file, in any format of tasks.tables, or a hub id",
    "user": "the question; {column} is filled in from the row",
    "answer": "the column of the gold, or a list of columns that are all accepted",
    "rewards": "module:function to its weight, or to {weight: …} with the function's options",
    "metric": "one of the rewards, or another module:function: right or wrong",
    "version": "change it when answers, prompts or code of the metric change, so that old evaluations aren't compared",
    "system": "the system message; {column} is filled in from the row",
    "reasoning": "the column of a rationale that leads to the answer, for SFT",
    "group": "the column that keeps rows together: they stay in one split, and statistics count them as one",
    "tags": "columns by which results are sliced",
    "split": "the column that says train, validation or test; without it rows are dealt by shares",
    "shares": "shares of validation and test, where no column says the split",
    "encoding": "of a text file; default: by its byte-order mark, UTF-8, or cp1251",
    "separator": "of a CSV; default: by its header; a tab in a .tsv",
}


def declared_task(path: Path, shown: Path | None = None) -> Task:
    """The task that a YAML file declares. The table is read when examples are first asked for.

    Raises UserError that names the file and the key at fault.
    """
    raw = _read(path, shown or path)
    where = str(shown or path)
    rewards, metric = _rewards(raw, where)
    table = _Table(path.parent, raw, where)
    return Task(
        name=str(raw["name"]),
        version=str(raw.get("version", "1")),
        examples=table.examples,
        rewards=rewards,
        metric=metric,
        ask=table.ask(),
        checks=(table.check,),
    )


def files_of(path: Path) -> list[Path]:
    """The YAML file of a task, and its table. Raises UserError as declared_task does for the file."""
    return [path, Path(_table_path(path.parent, _read(path, path)))]


def _table_path(folder: Path, raw: Mapping[str, Any]) -> str:
    """The table beside the YAML file, else what `data` says as it stands."""
    beside = folder / str(raw["data"])
    return str(beside if beside.exists() else raw["data"])


def _read(path: Path, shown: Path) -> dict[str, Any]:
    raw = read_yaml(path, "task", shown=shown)
    for key in raw:
        if key not in KEYS:
            raise UserError(f"{shown}: unknown key {key!r}; allowed: {', '.join(KEYS)}")
    for key in NEEDED:
        if not raw.get(key):
            raise UserError(f"{shown}: key {key!r} is missing; needed: {', '.join(NEEDED)}")
    for key in ("user", "system", "encoding", "separator"):
        if not isinstance(raw.get(key, ""), str):
            raise UserError(f"{shown}: key {key!r} must be a text, got {raw[key]!r}; put it in quotes")
    for key in ("name", "user", "system"):
        if problem := unreadable(str(raw.get(key, ""))):
            raise UserError(f"{shown}: key {key!r} {problem}")
    shares = raw.get("shares", SHARES)
    numbers = shares.values() if isinstance(shares, dict) and set(shares) <= set(SHARES) else ["no"]
    if not all(isinstance(each, int | float) and 0 <= each <= 1 for each in numbers) or sum(numbers) > 1 + 1e-9:
        raise UserError(f"{shown}: key 'shares' wants {SHARES}, shares from 0 on, at most 1 together, got {shares!r}")
    return raw


def _rewards(raw: Mapping[str, Any], where: str) -> tuple[dict[str, tuple[Reward, float]], Reward]:
    if not isinstance(raw["rewards"], dict):
        raise UserError(f"{where}: key 'rewards' must map references to weights, got {raw['rewards']!r}")
    rewards = {}
    by_reference = {}
    for reference, value in raw["rewards"].items():
        options = dict(value) if isinstance(value, dict) else {"weight": value}
        weight = options.pop("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= sys.float_info.max:
            raise UserError(f"{where}: rewards.{reference}: the weight must be a number from 0 on, got {weight!r}")
        by_reference[reference] = resolve_reward(reference, options, where)
        name = str(reference).partition(":")[2]
        if name in rewards:
            raise UserError(f"{where}: rewards has two functions called {name!r}: give one of them another name")
        rewards[name] = (by_reference[reference], float(weight))
    metric = raw["metric"]
    known = isinstance(metric, str) and metric in by_reference
    return rewards, by_reference[metric] if known else resolve_reward(metric, {}, where)


def resolve_reward(reference: Any, options: Mapping[str, Any], where: str) -> Reward:
    """The function `module:name`, with its options filled in. Raises UserError when there is none, or it lacks them."""
    import inspect

    module, _, name = str(reference).partition(":")
    if not isinstance(reference, str) or not name or not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"{where}: {reference!r} must be module:function, for instance rewards.text:exact_text")
    try:
        function = getattr(importlib.import_module(module), name)
        if not callable(function):
            raise TypeError(f"it is no function but {type(function).__name__}")
        allowed = list(inspect.signature(function).parameters)[2:]
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the module is a stranger's: whatever it raises, it gives no reward
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where}: reward {reference!r} can't be loaded: {said}") from error
    unknown = [option for option in options if option not in allowed]
    if unknown:
        raise UserError(f"{where}: reward {reference!r} has no option {unknown[0]!r}; it has: {', '.join(allowed)}")
    for option, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where}: reward {reference!r}: option {option!r} is {value}, want a finite number")
    reward: Reward = partial(function, **options) if options else function
    return reward


@dataclass
class _Table:
    """The examples of a declared task, by split."""

    folder: Path
    raw: Mapping[str, Any]
    where: str
    columns: list[str] = field(init=False)

    def __post_init__(self) -> None:
        answer, tags = self.raw["answer"], self.raw.get("tags", [])
        if not isinstance(tags, list):
            raise UserError(f"{self.where}: key 'tags' must be a list of columns, got {tags!r}")
        self.answers = answer if isinstance(answer, list) else [answer]
        single = [self.raw[key] for key in ("reasoning", "group", "split") if key in self.raw]
        if odd := [name for name in (*self.answers, *tags, *single) if not isinstance(name, str)]:
            raise UserError(f"{self.where}: {odd[0]!r} must be the name of a column; put it in quotes")
        self.several = (self.folder / str(self.raw["data"])).is_dir() or Path(str(self.raw["data"])).is_dir()
        self.filled = [*self._fields("system"), *self._fields("user")]
        self.columns = [*self.answers, *tags, *single, *self.filled]

    def _fields(self, key: str) -> list[str]:
        try:
            parts = list(string.Formatter().parse(self.raw.get(key, "")))
        except ValueError as error:
            raise UserError(f"{self.where}: key {key!r}: {error}; write {{{{ and }}}} for plain braces") from error
        names = [name for _, name, _, _ in parts if name is not None]
        if odd := [name for name in names if not name or set(name) & set(".[]")]:
            raise UserError(f"{self.where}: key {key!r}: {{{odd[0]}}} isn't the name of a column")
        if shaped := [name for _, name, spec, conversion in parts if name is not None and (spec or conversion)]:
            raise UserError(
                f"{self.where}: key {key!r}: {{{shaped[0]}}} may have no format after : or !; "
                "a column is filled in as it stands in the table"
            )
        return names

    def ask(self) -> Ask | None:
        """The prompt for a text in the place of the one column that it is filled in from; None where there are more."""
        return self._asked if len(set(self.filled)) == 1 else None

    def _asked(self, text: str, now: datetime) -> tuple[Message, ...]:
        return self._messages({self.filled[0]: text})

    def _messages(self, texts: Mapping[str, str]) -> tuple[Message, ...]:
        roles = ("system", "user")
        return tuple(Message(role=role, content=self.raw[role].format_map(texts)) for role in roles if role in self.raw)

    def examples(self, split: Split, n: int, seed: int) -> Iterator[Example]:
        """n examples of the split in an order that the seed gives; all of them where there are fewer."""
        found = self._by_split[split]
        yield from random.Random(f"{split}/{seed}").sample(found, len(found))[:n]

    @cached_property
    def _by_split(self) -> dict[Split, list[Example]]:
        found: dict[Split, list[Example]] = {split: [] for split in SPLITS}
        for row in self._source().rows():
            if isinstance(row, Bad):
                raise UserError(f"{row}; mend the row or take it out")
            example = self._example(row)
            found[self._split(row, example)].append(example)
        return found

    def _source(self) -> Source:
        path = _table_path(self.folder, self.raw)
        return open_source(path, self.raw.get("encoding"), self.raw.get("separator"))

    def _example(self, row: Row) -> Example:
        missing = [name for name in self.columns if name not in row.values]
        if missing:
            raise UserError(f"{row.file}, row {row.number}: no column {missing[0]!r}; it has: {', '.join(row.values)}")
        if wrong := next(((name, why) for name in self.columns if (why := not_finite(row.values[name]))), None):
            raise UserError(f"{row.file}, row {row.number}: column {wrong[0]!r} {wrong[1]}")
        texts: dict[str, str] = {}
        for name in self.columns:
            try:
                texts[name] = text_of(row.values[name])
            except BadValue as error:
                raise UserError(f"{row.file}, row {row.number}: column {name!r} {error}") from error
            if problem := unreadable(texts[name]):
                raise UserError(f"{row.file}, row {row.number}: column {name!r} {problem}; mend the row or take it out")
        answers = tuple(texts[name].strip() for name in self.answers if texts[name].strip())
        if not answers:
            raise UserError(f"{row.file}, row {row.number}: the answer (column {self.answers[0]!r}) is empty")
        place = f"{Path(row.file).stem}-" if self.several else ""  # rows are counted anew in each file of a folder
        reasoning = texts[self.raw["reasoning"]] if "reasoning" in self.raw else ""
        return Example(
            id=f"{self.raw['name']}-{place}{row.number}",
            messages=self._messages(texts),
            answers=answers,
            reasoning=reasoning or None,
            tags={name: texts[name] for name in self.raw.get("tags", [])},
            group=texts[self.raw["group"]] if "group" in self.raw else "",
        )

    def check(self, task: Task) -> list[str]:
        """A line for each split that isn't what was asked for, and why. None where a column names the splits."""
        if "split" in self.raw:
            return []
        shares = dict(self.raw.get("shares", SHARES))
        shares["train"] = 1 - sum(shares.values())
        dealt = {split: {_dealt_by(example) for example in self._by_split[split]} for split in SPLITS}
        total, kind = sum(map(len, self._by_split.values())), "groups" if "group" in self.raw else "prompts"
        why = (
            f"each of the {sum(map(len, dealt.values()))} {kind} is dealt whole, by a hash; "
            f"name the splits in a column (split: COLUMN), or have more {kind}"
        )
        found = []
        for split in SPLITS:
            share, got = shares.get(split, 0), len(self._by_split[split])
            if share < LEAST_SHARE:
                continue
            if not got:
                found.append(f"{split}: nothing fell to its share of {share:.0%}: {why}")
            elif kind == "groups" and not share / OFF <= got / total <= share * OFF:
                found.append(f"{split}: {got / total:.0%} of the rows fell to its share of {share:.0%}: {why}")
            elif kind == "groups" and len(dealt[split]) == 1:
                found.append(f"{split}: a single group fell to its share of {share:.0%}: {why}")
        return found

    def _split(self, row: Row, example: Example) -> Split:
        if "split" in self.raw:
            named = text_of(row.values[self.raw["split"]]).strip()
            for split in SPLITS:
                if split == named:
                    return split
            raise UserError(f"{row.file}, row {row.number}: split {named!r}; allowed: {', '.join(SPLITS)}")
        place = int.from_bytes(hashlib.sha256(_dealt_by(example).encode()).digest()[:8], "big") / 2**64
        shares = self.raw.get("shares", SHARES)
        if place < shares.get("test", 0):
            return "test"
        return "validation" if place < shares.get("test", 0) + shares.get("validation", 0) else "train"


def _dealt_by(example: Example) -> str:
    """The group, or else the prompt: rows that ask the same are never in two splits."""
    return example.group or "\n".join(turn["content"] for turn in example.messages)
