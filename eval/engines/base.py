"""What an engine is: requests in, completions out. Nothing heavy is imported here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from rewards.core import Message, UserError

FinishReason = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What to evaluate. path: directory of a full model (weights, config, tokenizer). adapter: a PEFT LoRA directory.

    name: what reports call it; the `server` engine sends it as the model's name. For the `scripted` engine, path is a
    JSONL file of completions or, where no such file exists, name is the constant completion. chat_template: takes the
    place of the tokenizer's own.
    """

    path: Path
    adapter: Path | None
    name: str
    chat_template: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt. prompt_ids are the token ids that we rendered ourselves (empty for engines without a tokenizer)."""

    id: str
    prompt_ids: tuple[int, ...]
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. temperature 0 is greedy. max_tokens counts new tokens. stop_token_ids end a completion.

    seed None: the engine draws as it likes. vLLM draws for seeded requests one by one, and its CPU build refuses them:
    seed what has to be repeated, and nothing else.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    seed: int | None = 0
    stop_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises UserError for a value that an engine would misread or that would waste the run."""
        if self.max_tokens < 1 or self.n < 1:
            raise UserError(f"max_tokens and n must be at least 1, got {self.max_tokens} and {self.n}")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise UserError(
                f"temperature must be >= 0 and top_p in (0, 1], got temperature {self.temperature}, top_p {self.top_p}"
            )
        if self.n > 1 and self.temperature == 0:
            raise UserError(f"{self.n} greedy samples would all be the same: set temperature above 0, or n to 1")


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer to one request. index counts the samples of a request from 0.

    tokens counts generated tokens, the end token included. With finish_reason "error", text is the reason.
    """

    request_id: str
    index: int
    text: str
    finish_reason: FinishReason
    tokens: int


class Generator(Protocol):
    """An engine that is ready to answer. Completions come in any order, as they finish."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """Yield sampling.n completions for each request."""
        ...

    def close(self) -> None:
        """Free memory and processes; may be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """A model's view of given tokens: each one's natural log probability, and whether no token was likelier."""

    logprobs: tuple[float, ...]
    best: tuple[bool, ...]


class Scorer(Generator, Protocol):
    """An engine that also tells how likely given tokens are."""

    def score(self, sequences: Sequence[tuple[Sequence[int], int]]) -> list[Scored]:
        """For each (token ids, start): how the model sees ids[start:], each token after all that come before it."""
        ...


def sample_seed(sampling: Sampling, request_id: str, index: int) -> int | None:
    """A 31-bit seed of one sample. It depends on the request, not on its position: a resumed run draws the same."""
    if sampling.seed is None:
        return None
    key = f"{sampling.seed}/{request_id}/{index}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") >> 1


def engine_options(engine: str, defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults overlaid with the caller's options.

    Raises UserError for an option that the engine doesn't have, or of another type than its default; a whole number is
    at least 1, retries 0.
    """
    unknown = sorted(set(options) - set(defaults))
    if unknown:
        raise UserError(f"engine {engine!r} has no option {unknown[0]!r}; it has: {', '.join(sorted(defaults))}")
    for name, value in options.items():
        kind = type(defaults[name])
        if kind not in _TYPES or value is None:
            continue
        least = int(kind is int and name != "retries")
        if not (type(value) is kind or (kind is float and type(value) is int)) or value < least:
            wanted = _TYPES[kind] if kind is bool else f"{_TYPES[kind]} of at least {least}"
            raise UserError(f"option {name} of engine {engine!r}: want {wanted}, got {value!r}")
    return {**defaults, **options}


_TYPES = {bool: "true or false", int: "a whole number", float: "a number"}
