"""The test double: completions from a JSONL file, or one constant text. No model, no tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.engines.base import Completion, ModelSpec, Request, Sampling, engine_options
from eval.progress import say
from rewards.core import UserError


@dataclass(frozen=True, slots=True)
class Scripted:
    """script maps a request id to its completions; a request that it lacks gets `constant`, or an error if None."""

    script: Mapping[str, Sequence[str]]
    constant: str | None

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """Words stand in for tokens: a text of more than max_tokens words is cut, finish_reason "length"."""
        spare = [each.id for each in requests if len(self.script.get(each.id, ())) > sampling.n]
        if spare:
            count = len(self.script[spare[0]])
            say(f"note: the script has {count} completions of {spare[0]!r} for {sampling.n} samples: the first count")
        for request in requests:
            texts = self.script.get(request.id, [] if self.constant is None else [self.constant])
            for index in range(sampling.n):
                if not texts:
                    yield Completion(request.id, index, "the script has no completion for this id", "error", 0)
                    continue
                text = texts[index % len(texts)]
                words = text.split()
                if len(words) > sampling.max_tokens:
                    cut = " ".join(words[: sampling.max_tokens])
                    yield Completion(request.id, index, cut, "length", sampling.max_tokens)
                else:
                    yield Completion(request.id, index, text, "stop", len(words))

    def close(self) -> None:
        """Nothing to free."""


def load(model: ModelSpec, options: Mapping[str, Any]) -> Scripted:
    """A script file (lines of {"id", "completion"}; several lines of one id are its samples) or the constant name."""
    engine_options("scripted", {}, options)
    if model.path.is_file():
        return Scripted(read_script(model.path), None)
    if model.path.suffix == ".jsonl":
        raise UserError(f"{model.path}: no such script file")
    return Scripted({}, model.name)


def read_script(path: Path) -> dict[str, list[str]]:
    """Completions by request id. Raises UserError that names the line."""
    script: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, text = row["id"], row["completion"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f'{path}:{number}: want {{"id": …, "completion": …}}, got {line[:80]!r}') from error
        for name, value in (("id", key), ("completion", text)):
            if not isinstance(value, str):
                raise UserError(f"{path}:{number}: {name!r} is {json.dumps(value)[:80]}, want a text; mend the line")
        script.setdefault(key, []).append(text)
    return script
